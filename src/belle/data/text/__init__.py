"""From raw documents to text for pretraining: lines and documents that say nothing, or say it again, go."""
