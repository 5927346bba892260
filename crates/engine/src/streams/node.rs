//! The streams of a node's own Pods: finds whom an asker means, and leaves the rest to one file per kind of stream.

use std::sync::Arc;

use bytes::Bytes;
use lifecycle::Fact;
use lifecycle::status::ContainerState;
use tokio::sync::mpsc;

use super::{
    ExecRequest, LogRequest, Pending, PodStreams, PodUsage, Reader, Session, StreamError, Streams, Target,
    Writer,
};
use crate::node::NodeShared;
use crate::pod::{Incarnation, IncarnationState, Input, PodContext};

/// What [`crate::Node::streams`] gives.
pub(crate) struct NodeStreams {
    pub(crate) node: Arc<NodeShared>,
}

impl PodStreams for NodeStreams {
    fn exec(&self, target: Target, request: ExecRequest) -> Pending<'_, Result<Session, StreamError>> {
        Box::pin(async move {
            let found = self.find(&target)?;
            super::exec::exec(&found.context, &found.container, found.running()?, request).await
        })
    }

    fn attach(&self, target: Target, streams: Streams) -> Pending<'_, Result<Session, StreamError>> {
        Box::pin(async move {
            let found = self.find(&target)?;
            super::attach::attach(&found.context, &found.container, found.running()?, streams).await
        })
    }

    fn connect(&self, target: Target, port: u16) -> Pending<'_, Result<(Reader, Writer), StreamError>> {
        Box::pin(async move { super::connect::connect(&self.find_pod(&target)?, port).await })
    }

    fn logs(
        &self,
        target: Target,
        request: LogRequest,
    ) -> Pending<'_, Result<mpsc::Receiver<Result<Bytes, StreamError>>, StreamError>> {
        Box::pin(async move {
            let found = self.find(&target)?;
            super::logs::logs(&found, &request)
        })
    }

    fn restart(&self, target: Target) -> Pending<'_, Result<(), StreamError>> {
        Box::pin(async move {
            let context = self.find_pod(&target)?;
            if let Some(name) =
                target.container.as_ref().filter(|name| context.pod().spec.container(name).is_none())
            {
                return Err(StreamError::NoSuchContainer { container: name.clone(), pod: target.pod });
            }
            if let Some(phase) =
                context.status().map(|status| status.phase).filter(|phase| phase.is_terminal())
            {
                return Err(StreamError::Over { pod: target.pod, phase });
            }
            let asked = Input::Fact(Fact::RestartRequested { container: target.container });
            let gone = |_| StreamError::NoSuchPod { pod: format!("{}/{}", target.namespace, target.pod) };
            context.inputs().send(asked).await.map_err(gone)
        })
    }

    fn usage(&self) -> Pending<'_, Vec<PodUsage>> {
        Box::pin(super::usage::usage(&self.node))
    }
}

/// A container that somebody asked for.
pub(super) struct Found {
    pub(super) context: Arc<PodContext>,
    pub(super) container: String,
}

impl NodeStreams {
    fn find_pod(&self, target: &Target) -> Result<Arc<PodContext>, StreamError> {
        let is_it = |context: &Arc<PodContext>| {
            let pod = context.pod();
            let uid = target.uid.as_ref();
            pod.meta.namespace == target.namespace
                && pod.meta.name == target.pod
                && uid.is_none_or(|uid| *uid == pod.meta.uid)
        };
        // A Pod and its successor of the same name may be here at once: the one that was admitted last is meant.
        let found = self.node.pods().into_iter().filter(is_it).max_by_key(|context| context.admitted);
        found.ok_or_else(|| StreamError::NoSuchPod { pod: format!("{}/{}", target.namespace, target.pod) })
    }

    fn find(&self, target: &Target) -> Result<Found, StreamError> {
        let context = self.find_pod(target)?;
        let pod = context.pod();
        let container = match &target.container {
            Some(name) if pod.spec.container(name).is_some() => name.clone(),
            Some(name) => {
                let (container, pod) = (name.clone(), target.pod.clone());
                return Err(StreamError::NoSuchContainer { container, pod });
            }
            None => match pod.spec.containers.as_slice() {
                [only] => only.name.clone(),
                _ => return Err(container_needed(&pod)),
            },
        };
        Ok(Found { context, container })
    }
}

/// In the words of kube-apiserver (pkg/registry/core/pod/strategy.go, `LogLocation`).
fn container_needed(pod: &model::pod::Pod) -> StreamError {
    let names = |containers: &[model::pod::Container]| {
        containers.iter().map(|container| container.name.as_str()).collect::<Vec<_>>().join(" ")
    };
    let mut choices = names(&pod.spec.containers);
    if !pod.spec.init_containers.is_empty() {
        choices.push_str("] or one of the init containers: [");
        choices.push_str(&names(&pod.spec.init_containers));
    }
    StreamError::ContainerNeeded { pod: pod.meta.name.clone(), choices }
}

impl Found {
    /// The incarnation that runs.
    fn running(&self) -> Result<u32, StreamError> {
        match self.context.incarnations.get(&self.container) {
            Some(Incarnation { attempt, state: IncarnationState::Running { .. } }) => Ok(attempt),
            _ => Err(self.not_running()),
        }
    }

    /// What it does instead, as its status says.
    pub(super) fn not_running(&self) -> StreamError {
        let status = self.context.status();
        let status = status.as_ref().and_then(|status| status.container(&self.container));
        let state = match status.map(|status| &status.state) {
            Some(ContainerState::Waiting { reason, message }) => match message {
                Some(message) => format!("{}: {message}", reason.as_str()),
                None => reason.as_str().to_owned(),
            },
            Some(ContainerState::Terminated(ended)) => {
                format!("it ended with exit code {}", ended.exit_code)
            }
            // It has just ended, or has just started; the status of that comes.
            Some(ContainerState::Running { .. }) => "it has just ended".to_owned(),
            None => "it was not started yet".to_owned(),
        };
        StreamError::NotRunning {
            container: self.container.clone(),
            pod: self.context.pod().meta.name.clone(),
            state,
        }
    }
}
