"""A trained model as a file that other programs run: ONNX, and .pt2 of torch.export."""
