"""Fresh processes: what starts them, and what runs in them."""
