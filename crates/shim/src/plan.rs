//! What is to be done to make a container, as data: a list of operations, executed in order.
