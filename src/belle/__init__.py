"""Belle: a declarative build system for Chinese chat models."""
