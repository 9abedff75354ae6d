"""An ablation: variants of one training, the stories that their critics make, and the table of what each part adds."""
