"""Files of Catalyst: specs, catalyst.conf, the configuration of catalyst-auto, and the graph of a release."""
