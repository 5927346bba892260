//! Making room when the disk fills, by the kubelet's rules (image_gc_manager.go): above one share of the disk, images go that
//! were used longest ago, until another share is reached. What is in use stays, and what came a moment ago.
//!
//! [`plan`] decides on facts alone. When it is asked for is the engine's (`engine/src/collector.rs`).

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use crate::digest::Digest;
use crate::error::Error;
use crate::prune::Pruned;
use crate::record::{ImageRecord, ImageSummary};
use crate::store::{Images, read_records};

/// When images go, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CollectionPolicy {
    /// From this share of the disk on (`imageGCHighThresholdPercent`); 100: never.
    pub high_percent: u8,
    /// Until this share is left in use (`imageGCLowThresholdPercent`).
    pub low_percent: u8,
    /// What is not here for so long stays (`imageMinimumGCAge`).
    pub minimum_age: Duration,
    /// What no container has used for so long goes, however empty the disk is (`imageMaximumGCAge`).
    pub maximum_age: Option<Duration>,
}

/// What a collection is about, beside its policy.
pub struct Scope<'a> {
    /// These stay, though nobody holds them; asked only when something has to go. None: it is not known, and nothing goes.
    pub spared: &'a dyn Fn() -> Option<HashSet<Digest>>,
    /// Nothing counts as older than this for the maximum age: as a kubelet, a node that has just begun does not know what
    /// its Pods will use.
    pub aged_from: SystemTime,
    /// Only tell what would go.
    pub is_trial: bool,
}

impl Default for CollectionPolicy {
    /// The kubelet's.
    fn default() -> Self {
        Self { high_percent: 85, low_percent: 80, minimum_age: Duration::from_secs(120), maximum_age: None }
    }
}

/// What a collection came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// What went.
    pub pruned: Pruned,
    /// How much of the disk was in use before.
    pub used_percent: u8,
    /// How much should have become free. More than was pruned: the disk is full of something else.
    pub wanted_bytes: u64,
    /// When the next image will be too old, unless it is used before.
    pub next_due: Option<SystemTime>,
}

/// A file system's size and what of it anybody may still use.
#[derive(Debug, Clone, Copy)]
struct Space {
    capacity_bytes: u64,
    available_bytes: u64,
}

impl Space {
    fn used_percent(self) -> u8 {
        let available = self.available_bytes.min(self.capacity_bytes);
        let free = (u128::from(available) * 100).checked_div(u128::from(self.capacity_bytes));
        100 - u8::try_from(free.unwrap_or(100)).unwrap_or(100)
    }

    /// What has to become free.
    fn wanted_bytes(self, policy: &CollectionPolicy) -> u64 {
        if policy.high_percent >= 100 || self.used_percent() < policy.high_percent {
            return 0;
        }
        let free_share = u128::from(100 - policy.low_percent.min(100));
        let target = u128::from(self.capacity_bytes) * free_share / 100;
        u64::try_from(target).unwrap_or(u64::MAX).saturating_sub(self.available_bytes)
    }
}

/// What is known of an image that matters here.
#[derive(Debug, Clone)]
struct Facts {
    id: Digest,
    loaded_at: SystemTime,
    last_used_at: SystemTime,
    /// In use, or spared by whoever asks.
    stays: bool,
    /// Its layers and what each takes.
    layers: Vec<(Digest, u64)>,
}

/// What goes, in this order.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    remove: Vec<Digest>,
    wanted_bytes: u64,
    freed_bytes: u64,
    next_due: Option<SystemTime>,
}

fn plan(
    space: Space,
    mut images: Vec<Facts>,
    policy: &CollectionPolicy,
    aged_from: SystemTime,
    now: SystemTime,
) -> Plan {
    let mut plan = Plan { wanted_bytes: space.wanted_bytes(policy), ..Plan::default() };
    images.sort_by(|a, b| (a.last_used_at, a.loaded_at, &a.id).cmp(&(b.last_used_at, b.loaded_at, &b.id)));
    // A clock that was set back makes an image young, which keeps it.
    let age = |then: SystemTime| now.duration_since(then).unwrap_or_default();
    let mut uses: Vec<&(Digest, u64)> = images.iter().flat_map(|image| &image.layers).collect();
    for image in images.iter().filter(|image| !image.stays) {
        let unused_since = image.last_used_at.max(aged_from);
        let is_too_old = policy.maximum_age.is_some_and(|maximum| age(unused_since) > maximum);
        let is_wanted = plan.freed_bytes < plan.wanted_bytes && age(image.loaded_at) >= policy.minimum_age;
        if !is_too_old && !is_wanted {
            let due = policy.maximum_age.and_then(|maximum| unused_since.checked_add(maximum));
            plan.next_due = [plan.next_due, due].into_iter().flatten().min();
            continue;
        }
        let mut seen = HashSet::new();
        for (layer, bytes) in image.layers.iter().filter(|(layer, _)| seen.insert(layer)) {
            for _ in image.layers.iter().filter(|(other, _)| other == layer) {
                if let Some(place) = uses.iter().position(|(other, _)| other == layer) {
                    uses.swap_remove(place);
                }
            }
            if !uses.iter().any(|(other, _)| other == layer) {
                plan.freed_bytes += bytes;
            }
        }
        plan.remove.push(image.id.clone());
    }
    plan
}

impl Images {
    /// Removes what `policy` says.
    pub fn collect(&self, policy: &CollectionPolicy, scope: &Scope<'_>) -> Result<Collected, Error> {
        let space = self.space()?;
        let mut collected = Collected {
            used_percent: space.used_percent(),
            wanted_bytes: space.wanted_bytes(policy),
            ..Collected::default()
        };
        // The usual answer costs one system call.
        if collected.wanted_bytes == 0 && policy.maximum_age.is_none() {
            return Ok(collected);
        }
        let Some(spared) = (scope.spared)() else { return Ok(collected) };
        let listed = self.list()?;
        if !scope.is_trial {
            listed.iter().filter(|image| image.in_use).for_each(|image| self.was_used(&image.id));
        }
        let facts = self.facts(&listed, &spared)?;
        let plan = plan(space, facts, policy, scope.aged_from, SystemTime::now());
        collected.next_due = plan.next_due;
        for id in plan.remove {
            let Some(image) = listed.iter().find(|image| image.id == id) else { continue };
            if scope.is_trial {
                collected.pruned.images.push(image.clone());
                collected.pruned.freed_bytes = plan.freed_bytes;
            } else if let Some(freed_bytes) = self.remove_unused(image)? {
                collected.pruned.freed_bytes += freed_bytes;
                collected.pruned.images.push(image.clone());
            }
        }
        Ok(collected)
    }

    fn space(&self) -> Result<Space, Error> {
        let space = rustix::fs::statvfs(self.root())
            .map_err(std::io::Error::from)
            .map_err(Error::io("ask for the free space of", self.root()))?;
        Ok(Space {
            capacity_bytes: space.f_blocks.saturating_mul(space.f_frsize),
            available_bytes: space.f_bavail.saturating_mul(space.f_frsize),
        })
    }

    fn facts(&self, listed: &[ImageSummary], spared: &HashSet<Digest>) -> Result<Vec<Facts>, Error> {
        let records: Vec<ImageRecord> =
            read_records(&self.path("images"))?.into_iter().map(|(_, record)| record).collect();
        let mut facts = Vec::new();
        for image in listed {
            let Some(record) = records.iter().find(|record| record.id == image.id) else { continue };
            let mut layers = Vec::new();
            for layer in &record.layers {
                let bytes = self
                    .pin_layer(layer)?
                    .map_or(0, |(_, layer)| layer.unpacked_bytes.saturating_add(layer.blob_bytes));
                layers.push((layer.clone(), bytes));
            }
            facts.push(Facts {
                id: image.id.clone(),
                loaded_at: SystemTime::UNIX_EPOCH + Duration::from_secs(image.loaded_at),
                last_used_at: self.last_used_at(&image.id)?,
                stays: image.in_use || spared.contains(&image.id),
                layers,
            });
        }
        Ok(facts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000)
    }

    fn digest(name: &str) -> Digest {
        Digest::of(name.as_bytes())
    }

    /// An image that came and was last used so many minutes ago.
    fn image(name: &str, loaded: u64, used: u64, layers: &[(&str, u64)]) -> Facts {
        let ago = |minutes: u64| now() - Duration::from_secs(minutes * 60);
        Facts {
            id: digest(name),
            loaded_at: ago(loaded),
            last_used_at: ago(used),
            stays: false,
            layers: layers.iter().map(|(name, bytes)| (digest(name), *bytes)).collect(),
        }
    }

    fn disk(used_percent: u64) -> Space {
        Space { capacity_bytes: 100 * GIB, available_bytes: (100 - used_percent) * GIB }
    }

    fn planned(used_percent: u64, images: &[Facts], policy: &CollectionPolicy) -> (Vec<Digest>, u64, u64) {
        let plan = plan(disk(used_percent), images.to_vec(), policy, SystemTime::UNIX_EPOCH, now());
        (plan.remove, plan.wanted_bytes / GIB, plan.freed_bytes / GIB)
    }

    #[test]
    fn nothing_goes_below_the_high_share_and_above_it_enough_for_the_low_one() {
        let policy = CollectionPolicy::default();
        let images = [image("old", 90, 80, &[("a", 4 * GIB)]), image("older", 90, 85, &[("b", 3 * GIB)])];
        assert_eq!(planned(84, &images, &policy), (vec![], 0, 0));
        assert_eq!(planned(85, &images, &policy), (vec![digest("older"), digest("old")], 5, 7));
        assert_eq!(
            planned(85, &images[1..], &policy),
            (vec![digest("older")], 5, 3),
            "and that is all there is"
        );
    }

    #[test]
    fn a_full_disk_is_as_good_as_any_where_the_high_share_is_all_of_it() {
        let policy = CollectionPolicy { high_percent: 100, ..CollectionPolicy::default() };
        assert_eq!(planned(100, &[image("old", 90, 80, &[("a", GIB)])], &policy), (vec![], 0, 0));
    }

    #[test]
    fn what_is_in_use_or_came_just_now_stays() {
        let policy = CollectionPolicy::default();
        let mut used = image("used", 90, 80, &[("a", GIB)]);
        used.stays = true;
        let fresh = image("fresh", 1, 80, &[("b", GIB)]);
        assert_eq!(planned(99, &[used, fresh], &policy), (vec![], 19, 0));
    }

    #[test]
    fn a_layer_is_free_with_the_last_image_that_has_it() {
        let policy = CollectionPolicy::default();
        let images = [
            image("first", 90, 89, &[("shared", 5 * GIB), ("own", GIB), ("own", GIB)]),
            image("second", 90, 88, &[("shared", 5 * GIB)]),
            image("third", 90, 87, &[("other", 5 * GIB)]),
        ];
        assert_eq!(planned(86, &images, &policy), (vec![digest("first"), digest("second")], 6, 6));
    }

    #[test]
    fn what_nobody_used_for_too_long_goes_from_an_empty_disk_too() {
        let policy =
            CollectionPolicy { maximum_age: Some(Duration::from_secs(3600)), ..CollectionPolicy::default() };
        let images = [image("old", 90, 61, &[("a", GIB)]), image("new", 90, 60, &[("b", GIB)])];
        assert_eq!(planned(10, &images, &policy), (vec![digest("old")], 0, 1));
        let due_from = |from: SystemTime, images: &[Facts]| {
            plan(disk(10), images.to_vec(), &policy, from, now()).next_due
        };
        let due = |images: &[Facts]| due_from(SystemTime::UNIX_EPOCH, images);
        assert_eq!(due(&images), Some(now()), "the new one");
        let begun = now() - Duration::from_secs(60);
        assert_eq!(
            due_from(begun, &images),
            Some(now() + Duration::from_secs(59 * 60)),
            "a node that has just begun"
        );
        let young = image("young", 90, 5, &[("c", GIB)]);
        assert_eq!(due(std::slice::from_ref(&young)), Some(now() + Duration::from_secs(55 * 60)));
        let used = Facts { stays: true, ..young };
        assert_eq!(due(&[used]), None, "whoever stops using it looks again");
    }

    #[test]
    fn a_clock_that_was_set_back_and_a_disk_of_no_size_remove_nothing() {
        let mut image = image("future", 90, 80, &[("a", GIB)]);
        image.loaded_at = now() + Duration::from_secs(60);
        assert_eq!(planned(99, &[image], &CollectionPolicy::default()).0, []);
        let nothing = Space { capacity_bytes: 0, available_bytes: 0 };
        assert_eq!((nothing.used_percent(), nothing.wanted_bytes(&CollectionPolicy::default())), (0, 0));
    }
}
