"""What requests and answers of the API are made of."""
