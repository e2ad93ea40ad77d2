"""`yolo-focal compare`: which model is better on one's own data, by how much, and how sure that is."""
