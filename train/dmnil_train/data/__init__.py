"""Pools of images to train on, and retrieval tasks to be judged by."""
