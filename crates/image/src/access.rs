//! Who may use an image that is here without asking its registry (KEP-2535, "ensure secret pulled images").
//!
//! What was pulled with a Pod's own credentials is for Pods that show the same: by `imagePullPolicy: IfNotPresent` or `Never`
//! another Pod would else read a private image for the mere knowledge of its name. Whoever shows others asks the registry,
//! and what it accepts is noted. Everybody may use what came without credentials, with those of this machine, or by hand.
//!
//! Here are only fingerprints of credentials, in files that only root may read. The rule is that of the kubelet's policy
//! `NeverVerifyPreloadedImages`, its default.

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::record::Image;
use crate::reference::Reference;
use crate::registry::Credentials;
use crate::store::Images;

/// So many are remembered for a name; whoever was forgotten asks the registry.
const REMEMBERED_MAX: usize = 100;

/// Credentials that the registry accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PulledWith {
    /// The object that held them, which may since hold newer ones of the same owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) holder: Option<String>,
    pub(crate) fingerprint: String,
}

/// Whether an image can be used.
#[derive(Debug, Clone)]
pub enum Presence {
    /// It is not here.
    Absent,
    /// It is here, for whoever asked.
    Present(Box<Image>),
    /// It is here, but was pulled with other credentials than were shown: the registry has to be asked.
    Guarded,
}

impl Images {
    /// The image called `reference`, for a Pod that shows what `credentials` gives; they are looked for only if need be.
    pub fn find_for(
        &self,
        reference: &Reference,
        credentials: impl FnOnce() -> Vec<Credentials>,
    ) -> Result<Presence, Error> {
        let Some(image) = self.find(reference)? else { return Ok(Presence::Absent) };
        let pulled_with = self.read_ref(&reference.key())?.map(|named| named.pulled_with).unwrap_or_default();
        Ok(if pulled_with.is_empty() || may_use(&pulled_with, &credentials()) {
            Presence::Present(Box::new(image))
        } else {
            Presence::Guarded
        })
    }
}

fn may_use(pulled_with: &[PulledWith], shown: &[Credentials]) -> bool {
    let is_same = |credentials: &Credentials, known: &PulledWith| {
        let is_holder = credentials.holder().is_some() && credentials.holder() == known.holder.as_deref();
        is_holder || credentials.fingerprints().any(|fingerprint| fingerprint == known.fingerprint)
    };
    shown.iter().any(|credentials| pulled_with.iter().any(|known| is_same(credentials, known)))
}

/// What is known when an image that is here under a name has come again: for everybody once, for everybody still.
pub(crate) fn merged(before: &[PulledWith], now: Vec<PulledWith>) -> Vec<PulledWith> {
    if before.is_empty() || now.is_empty() {
        return Vec::new();
    }
    let mut all: Vec<PulledWith> = before.iter().filter(|known| !now.contains(known)).cloned().collect();
    all.extend(now);
    all.drain(..all.len().saturating_sub(REMEMBERED_MAX));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(holder: Option<&str>, fingerprint: &str) -> PulledWith {
        PulledWith { holder: holder.map(str::to_owned), fingerprint: fingerprint.to_owned() }
    }

    fn secret(holder: &str, password: &str) -> Credentials {
        let text = format!(r#"{{"auths": {{"r.example": {{"username": "u", "password": "{password}"}}}}}}"#);
        Credentials::parse("x", text.as_bytes()).unwrap().held_by(holder)
    }

    #[test]
    fn the_same_credentials_or_the_same_holder_may_use_an_image_and_nobody_else() {
        let one = secret("a/pull/1", "one");
        let fingerprint = one.fingerprints().next().unwrap();
        let pulled_with = [known(Some("a/pull/1"), &fingerprint)];
        assert!(may_use(&pulled_with, std::slice::from_ref(&one)));
        assert!(may_use(&pulled_with, &[secret("b/copy/2", "one")]), "a copy in another namespace");
        assert!(may_use(&pulled_with, &[secret("a/pull/1", "renewed")]), "a password that was renewed");
        assert!(may_use(&pulled_with, &[secret("b/x/3", "two"), one]), "one of several");
        assert!(!may_use(&pulled_with, &[secret("b/pull/2", "two")]));
        assert!(!may_use(&pulled_with, &[]));
        let unheld = Credentials::parse("x", b"{}").unwrap();
        assert!(!may_use(&[known(None, &fingerprint)], &[unheld]), "no holder is not the same holder");
    }

    #[test]
    fn what_everybody_may_use_stays_so_and_others_are_remembered_within_a_bound() {
        let (a, b) = (known(None, "a"), known(None, "b"));
        assert_eq!(merged(&[], vec![a.clone()]), []);
        assert_eq!(merged(std::slice::from_ref(&a), vec![]), []);
        assert_eq!(merged(&[a.clone(), b.clone()], vec![a.clone()]), [b, a.clone()]);
        let many: Vec<_> = (0..REMEMBERED_MAX).map(|number| known(None, &number.to_string())).collect();
        let all = merged(&many, vec![a.clone()]);
        assert_eq!((all.len(), all.first(), all.last()), (REMEMBERED_MAX, many.get(1), Some(&a)));
    }

    #[test]
    fn a_fingerprint_tells_credentials_apart_and_does_not_show_them() {
        let (one, two) = (secret("a", "one"), secret("a", "two"));
        let of = |credentials: &Credentials| credentials.fingerprints().collect::<Vec<_>>();
        assert_eq!(of(&one), of(&secret("b", "one")));
        assert_ne!(of(&one), of(&two));
        assert!(!of(&one).concat().contains("one"));
    }
}
