//! What a kubelet serves: logs, exec, attach, port-forward and stats of the Pods of one node.
