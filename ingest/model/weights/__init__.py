"""A model's weights: their files, and the devices that they lie on."""
