//! What dead nodes left in the kernel: links, tables, ranges. A node that was killed cannot tidy up; the next
//! start of podling does, and `podling doctor` shows it.

use std::collections::BTreeMap;
use std::path::Path;

use linux::netlink::{Family, Socket};

use crate::address::Range;
use crate::claim::Claims;
use crate::plan::Owner;
use crate::{Error, link, ruleset};

/// Everything that one dead node left.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leftover {
    /// Its run directory, if that can still be told.
    pub run_dir: Option<String>,
    /// Links to Pods.
    pub links: Vec<String>,
    /// Ranges that are still claimed, or that a table or a file is named after.
    pub ranges: Vec<Range>,
}

/// Finds what belongs to nodes that are not alive. `is_alive` is asked about run directories; what does not
/// tell its owner at all belongs to nobody.
pub fn find(claims_dir: &Path, is_alive: impl Fn(&Path) -> bool) -> Result<Vec<Leftover>, Error> {
    let claims = Claims::new(claims_dir)?;
    let _lock = claims.lock()?;
    let mut socket = open(Family::Route)?;
    let listing = |source| Error::kernel("listing what nodes left in the network", source);
    let links = link::links_with_alias(&mut socket).map_err(listing)?;
    let mut ranges = link::survey(&mut socket).map_err(listing)?.claimed;
    ranges.extend(claims.files());
    // A kernel without nftables has no table either.
    if let Ok(mut netfilter) = Socket::open(Family::Netfilter) {
        ranges.extend(ruleset::tables(&mut netfilter).unwrap_or_default());
    }

    let owners: Vec<(Owner<'_>, &str)> =
        links.iter().filter_map(|link| Some((Owner::parse(&link.alias)?, link.name.as_str()))).collect();
    let mut found: BTreeMap<Option<String>, Leftover> = BTreeMap::new();
    for (owner, name) in &owners {
        let leftover = found.entry(Some(owner.run_dir.to_owned())).or_default();
        leftover.links.push((*name).to_owned());
    }
    for range in ranges {
        let by_link = || {
            owners.iter().find(|(owner, _)| owner.range == range).map(|(owner, _)| owner.run_dir.to_owned())
        };
        let run_dir = claims.owner(range).or_else(by_link);
        found.entry(run_dir).or_default().ranges.push(range);
    }
    found.retain(|run_dir, _| !run_dir.as_ref().is_some_and(|run_dir| is_alive(Path::new(run_dir))));
    Ok(found.into_iter().map(|(run_dir, leftover)| Leftover { run_dir, ..leftover }).collect())
}

/// Removes what [`find`] found of one node. Goes on past failures and returns all.
pub fn remove(claims_dir: &Path, leftover: &Leftover) -> Result<(), Vec<Error>> {
    let prepared =
        Claims::new(claims_dir).and_then(|claims| Ok((claims.lock()?, claims, open(Family::Route)?)));
    let (lock, claims, mut socket) = prepared.map_err(|error| vec![error])?;
    let mut errors = Vec::new();
    for name in &leftover.links {
        let removed = link::remove(name);
        errors.extend(removed.err().map(|source| Error::kernel(format!("removing the link {name}"), source)));
    }
    for range in &leftover.ranges {
        let removed = Socket::open(Family::Netfilter).and_then(|mut netfilter| {
            match ruleset::tables(&mut netfilter)?.contains(range) {
                true => ruleset::replace(&mut netfilter, *range, "", &[]),
                false => Ok(()),
            }
        });
        // Without nftables there is no table to remove.
        let removed = removed.or_else(|error| match linux::netlink::errno(&error) {
            Some(libc::EPROTONOSUPPORT | libc::EINVAL | libc::EOPNOTSUPP) => Ok(()),
            _ => Err(error),
        });
        errors.extend(
            removed.err().map(|source| Error::kernel(format!("removing the rules of {range}"), source)),
        );
        errors.extend(claims.release(&mut socket, *range, &lock).err());
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

fn open(family: Family) -> Result<Socket, Error> {
    Socket::open(family).map_err(|source| Error::kernel("opening a netlink socket", source))
}
