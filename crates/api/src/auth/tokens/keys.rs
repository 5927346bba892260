//! The keys that sign tokens: files `service-account-N.key` (PKCS #8) under `DATA_DIR/pki`. The newest signs, all verify: after
//! [`Keys::rotate`] tokens of the key before stay valid until they expire, and removing its file revokes them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rcgen::PublicKeyData;
use ring::digest::{SHA256, digest};
use ring::error::Unspecified;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use serde_json::{Value, json};

use crate::auth::pem_file;

/// A key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file system refused.
    #[error("{attempt} {} failed", path.display())]
    Io {
        /// What was tried.
        attempt: &'static str,
        /// With what.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Not a key, or of another kind.
    #[error("{} is no ECDSA P-256 key: remove it to have a new one made, which ends all tokens of it", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// No key could be made; the machine has no random bytes.
    #[error("making a key failed")]
    Make,
}

/// Every key, the one that signs last.
#[derive(Debug)]
pub struct Keys {
    directory: PathBuf,
    older: Vec<Key>,
    signing: Key,
}

/// One key.
pub(super) struct Key {
    id: String,
    pair: EcdsaKeyPair,
}

impl Keys {
    /// Reads the keys in a directory, and makes the first one.
    ///
    /// # Errors
    /// [`KeyError::Damaged`] names the file that is no key.
    pub fn ensure(directory: &Path) -> Result<Self, KeyError> {
        let io = |attempt, path: &Path| {
            let path = path.to_owned();
            move |source| KeyError::Io { attempt, path, source }
        };
        pem_file::make_directory(directory).map_err(io("making", directory))?;
        let mut numbers: Vec<u32> = fs::read_dir(directory)
            .map_err(io("reading", directory))?
            .filter_map(|entry| number(entry.ok()?.file_name().to_str()?))
            .collect();
        numbers.sort_unstable();
        let Some(newest) = numbers.pop() else {
            let signing = Key::make(&path(directory, 1))?;
            return Ok(Self { directory: directory.to_owned(), older: Vec::new(), signing });
        };
        let older = numbers
            .into_iter()
            .map(|number| Key::read(&path(directory, number)))
            .collect::<Result<_, _>>()?;
        let signing = Key::read(&path(directory, newest))?;
        Ok(Self { directory: directory.to_owned(), older, signing })
    }

    /// Makes a new key, which signs from now on.
    ///
    /// # Errors
    /// When it could not be written; the key before signs on then.
    pub fn rotate(&mut self) -> Result<(), KeyError> {
        let numbers = fs::read_dir(&self.directory).map_err(|source| KeyError::Io {
            attempt: "reading",
            path: self.directory.clone(),
            source,
        })?;
        let newest = numbers.filter_map(|entry| number(entry.ok()?.file_name().to_str()?)).max();
        let fresh = Key::make(&path(&self.directory, newest.unwrap_or_default() + 1))?;
        self.older.push(std::mem::replace(&mut self.signing, fresh));
        Ok(())
    }

    pub(super) fn signing(&self) -> &Key {
        &self.signing
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Key> {
        self.older.iter().chain([&self.signing])
    }

    pub(super) fn by_id(&self, id: &str) -> Option<&Key> {
        self.iter().find(|key| key.id == id)
    }
}

fn path(directory: &Path, number: u32) -> PathBuf {
    directory.join(format!("service-account-{number}.key"))
}

fn number(name: &str) -> Option<u32> {
    name.strip_prefix("service-account-")?.strip_suffix(".key")?.parse().ok()
}

impl Key {
    fn make(path: &Path) -> Result<Self, KeyError> {
        let pair =
            rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(|_| KeyError::Make)?;
        let key = Key::of(&pair).ok_or(KeyError::Make)?;
        pem_file::replace(path, &pair.serialize_pem()).map_err(|source| KeyError::Io {
            attempt: "writing",
            path: path.to_owned(),
            source,
        })?;
        Ok(key)
    }

    fn read(path: &Path) -> Result<Self, KeyError> {
        let text = fs::read_to_string(path).map_err(|source| KeyError::Io {
            attempt: "reading",
            path: path.to_owned(),
            source,
        })?;
        let pair = rcgen::KeyPair::from_pem(&text).ok();
        pair.and_then(|pair| Key::of(&pair)).ok_or_else(|| KeyError::Damaged { path: path.to_owned() })
    }

    /// The id is a digest of the public key, as of kube-apiserver, so it is the same wherever the key is.
    fn of(pair: &rcgen::KeyPair) -> Option<Self> {
        let id = BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, &pair.subject_public_key_info()));
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pair.serialized_der(), &random)
            .ok()?;
        Some(Key { id, pair })
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn sign(&self, message: &[u8], random: &SystemRandom) -> Result<Vec<u8>, Unspecified> {
        Ok(self.pair.sign(random, message)?.as_ref().to_vec())
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.pair.public_key());
        public.verify(message, signature).is_ok()
    }

    /// RFC 7518, 6.2: the two halves of the uncompressed point.
    pub(super) fn jwk(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        let (x, y) = point.get(1..).unwrap_or_default().split_at(point.len() / 2);
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        json!({"use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": "ES256", "x": encode(x), "y": encode(y)})
    }
}

impl std::fmt::Debug for Key {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}
