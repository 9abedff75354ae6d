"""RL and SFT records, checked: errors name file, line and field."""
