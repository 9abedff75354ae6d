"""The judges, what else looks at a picture, and the teachers while data is built."""
