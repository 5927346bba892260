//! What acts on objects: binding of Pods, namespaces' end, garbage collection, endpoints. Only clients of the API.
