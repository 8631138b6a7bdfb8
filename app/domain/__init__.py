"""What Segue knows: values and rules, free of any technology."""
