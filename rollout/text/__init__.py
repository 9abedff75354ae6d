"""Text that models and strangers write: strict JSON, prompt templates, image marks. Imports nothing of ours."""
