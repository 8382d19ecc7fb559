"""Tokenizer, base model and fine-tuning."""
