"""The ONNX graphs, written node by node, and the file that holds their weights."""
