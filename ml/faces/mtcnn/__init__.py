"""MTCNN: the arithmetic of its boxes, its three networks, and their cascade."""
