//! ServiceAccount tokens of one Pod: those that it holds, and when each wants to be renewed.
//!
//! Knows no control plane and no files: [`crate::perform`] fetches tokens and writes them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::pod::TokenProjection;
use tokio::task::AbortHandle;

use crate::control_plane::Token;

/// No token is kept for longer, however long it is good for (the kubelet's maxTTL).
const LONGEST_USE: Duration = Duration::from_secs(24 * 60 * 60);
/// No token is renewed sooner, whatever a clock says that differs from the server's.
const SHORTEST_USE: Duration = Duration::from_secs(60);

/// What tells one token of a Pod from another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    audience: Option<String>,
    expiration_seconds: u64,
}

impl Key {
    fn of(wanted: &TokenProjection) -> Key {
        Key { audience: wanted.audience.clone(), expiration_seconds: wanted.expiration_seconds }
    }
}

/// A token, once it was had.
struct Slot {
    token: Option<String>,
    renew_at_boot_nanos: u64,
}

/// The tokens of one Pod.
#[derive(Default)]
pub(crate) struct Tokens {
    slots: Mutex<BTreeMap<Key, Slot>>,
    keeper: Mutex<Option<AbortHandle>>,
}

impl Tokens {
    /// The token for that projection, fresh or not.
    pub(crate) fn get(&self, wanted: &TokenProjection) -> Option<String> {
        self.slots().get(&Key::of(wanted))?.token.clone()
    }

    /// Whether it was asked for before.
    pub(crate) fn is_held(&self, wanted: &TokenProjection) -> bool {
        self.slots().contains_key(&Key::of(wanted))
    }

    /// Whether it is time to fetch it, for the first time or anew.
    pub(crate) fn is_due(&self, wanted: &TokenProjection, boot_nanos: u64) -> bool {
        let slots = self.slots();
        slots.get(&Key::of(wanted)).is_none_or(|slot| slot.renew_at_boot_nanos <= boot_nanos)
    }

    /// Takes a token that was fetched now.
    pub(crate) fn put(&self, wanted: &TokenProjection, token: Token, now: &lifecycle::Now) {
        let use_nanos = u64::try_from(use_time(&token, now.wall_nanos).as_nanos()).unwrap_or(u64::MAX);
        let renew_at_boot_nanos = now.boot_nanos.saturating_add(use_nanos);
        self.slots().insert(Key::of(wanted), Slot { token: Some(token.token), renew_at_boot_nanos });
    }

    /// It could not be fetched: what there is of it stays, and it is due.
    pub(crate) fn miss(&self, wanted: &TokenProjection) {
        self.slots().entry(Key::of(wanted)).or_insert(Slot { token: None, renew_at_boot_nanos: 0 });
    }

    /// How long from now until the first of them is due; none without tokens.
    pub(crate) fn due_in(&self, boot_nanos: u64) -> Option<Duration> {
        let due = self.slots().values().map(|slot| slot.renew_at_boot_nanos).min()?;
        Some(Duration::from_nanos(due.saturating_sub(boot_nanos)))
    }

    /// Takes the task that renews them, and ends its predecessor.
    pub(crate) fn set_keeper(&self, keeper: AbortHandle) {
        let predecessor = self.keeper().replace(keeper);
        if let Some(predecessor) = predecessor {
            predecessor.abort();
        }
    }

    /// Forgets all of them; nothing is renewed any more.
    pub(crate) fn clear(&self) {
        if let Some(keeper) = self.keeper().take() {
            keeper.abort();
        }
        self.slots().clear();
    }

    /// A panic elsewhere leaves the map whole.
    fn slots(&self) -> MutexGuard<'_, BTreeMap<Key, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keeper(&self) -> MutexGuard<'_, Option<AbortHandle>> {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A Pod that goes away without further ado leaves no task behind.
impl Drop for Tokens {
    fn drop(&mut self) {
        self.clear();
    }
}

/// For how long a token is used before the next one is fetched: 80 % of its life, or a day.
fn use_time(token: &Token, wall_nanos: i64) -> Duration {
    let left_nanos = token.expires_at_wall_nanos.saturating_sub(wall_nanos);
    let left = Duration::from_nanos(u64::try_from(left_nanos).unwrap_or(0));
    left.saturating_sub(token.lifetime / 5).clamp(SHORTEST_USE, LONGEST_USE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn now(seconds: u64) -> lifecycle::Now {
        lifecycle::Now {
            boot_nanos: seconds * 1_000_000_000,
            boot_id: 1,
            wall_nanos: seconds as i64 * 1_000_000_000,
        }
    }

    fn token(text: &str, lifetime: Duration, issued_at_seconds: u64) -> Token {
        let expires_at = issued_at_seconds + lifetime.as_secs();
        Token { token: text.into(), lifetime, expires_at_wall_nanos: now(expires_at).wall_nanos }
    }

    fn wanted(audience: Option<&str>) -> TokenProjection {
        TokenProjection { audience: audience.map(str::to_owned), expiration_seconds: 3600, path: "t".into() }
    }

    #[test]
    fn a_token_is_due_when_four_fifths_of_its_life_are_over() {
        let tokens = Tokens::default();
        assert!(tokens.is_due(&wanted(None), 0));
        assert_eq!(tokens.due_in(0), None);
        tokens.put(&wanted(None), token("first", HOUR, 100), &now(100));
        assert!(!tokens.is_due(&wanted(None), now(100 + 2879).boot_nanos));
        assert!(tokens.is_due(&wanted(None), now(100 + 2880).boot_nanos));
        assert_eq!(tokens.due_in(now(100).boot_nanos), Some(Duration::from_secs(2880)));
        assert!(
            tokens.is_due(&wanted(Some("vault")), now(100).boot_nanos),
            "another audience, another token"
        );
    }

    #[test]
    fn no_token_is_used_for_more_than_a_day_and_none_renewed_at_once() {
        let year = token("long", HOUR * 24 * 365, 0);
        assert_eq!(use_time(&year, 0), LONGEST_USE);
        assert_eq!(use_time(&token("ended", HOUR, 0), now(7200).wall_nanos), SHORTEST_USE);
    }

    #[test]
    fn a_renewal_that_failed_keeps_the_old_token_and_stays_due() {
        let tokens = Tokens::default();
        tokens.put(&wanted(None), token("old", HOUR, 0), &now(0));
        tokens.miss(&wanted(None));
        assert_eq!(tokens.get(&wanted(None)).as_deref(), Some("old"));
        assert!(tokens.is_due(&wanted(None), now(2880).boot_nanos));
        tokens.miss(&wanted(Some("vault")));
        assert_eq!(tokens.get(&wanted(Some("vault"))), None);
        assert_eq!(tokens.due_in(now(50).boot_nanos), Some(Duration::ZERO));
    }
}
