"""Models over HTTP, in the REST form of TensorFlow Serving: server and client."""
