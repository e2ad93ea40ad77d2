"""`yolo-focal compare`: trains models with several seeds and compares them with confidence intervals."""
