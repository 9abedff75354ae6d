"""Text that models and strangers write: strict JSON, prompts, image marks. Imports no other package."""
