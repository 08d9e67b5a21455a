"""Speed of what is deployed: contenders in processes of their own, in turns."""
