//! Volumes whose files podling writes: configMap, secret, downwardAPI and projected.
//!
//! [`files`] gathers what the sources give and is pure but for its look-ups; [`write()`] hands it to
//! [`crate::atomic`], so that the files of all sources change in one instant.

use std::collections::BTreeMap;
use std::path::PathBuf;

use model::pod::{DownwardFile, ObjectKind, Projection, TokenProjection, Volume, VolumeSource};

use crate::atomic::{self, File};
use crate::keyed::{self, Wanted};
use crate::{Context, VolumeError, ensure_directory};

/// The mode of a token where it is known who reads it: the one user, or with `fsGroup` the group too.
const TOKEN_MODE: u32 = 0o600;

/// Writes the volume's files as they are now. Returns the directory and whether anything changed.
pub(crate) fn write(volume: &Volume, context: &Context<'_>) -> Result<(PathBuf, bool), VolumeError> {
    let files = files(volume, context)?;
    let (base, plugin) = match &volume.source {
        VolumeSource::Object { kind: ObjectKind::ConfigMap, .. } => (context.data_dir, "configmap"),
        VolumeSource::Object { kind: ObjectKind::Secret, .. } => (context.run_dir, "secret"),
        VolumeSource::DownwardApi { .. } => (context.run_dir, "downward-api"),
        _ => (context.run_dir, "projected"),
    };
    let directory = ensure_directory(base, plugin, &volume.name)?;
    let changed = atomic::write(&directory, &files, context.fs_group)?;
    Ok((directory, changed))
}

/// The files of the volume, by checked relative path.
fn files(volume: &Volume, context: &Context<'_>) -> Result<BTreeMap<String, File>, VolumeError> {
    let name = volume.name.as_str();
    let files = match &volume.source {
        VolumeSource::Object { kind, name: object, items, default_mode, optional } => {
            let (kind, default_mode, optional) = (*kind, *default_mode, *optional);
            let wanted = Wanted { kind, name: object, items, default_mode, optional };
            keyed::files(name, &wanted, context.objects)?
        }
        VolumeSource::DownwardApi { items, default_mode } => told(name, items, *default_mode, context)?,
        VolumeSource::Projected { sources, default_mode } => {
            let mut files = BTreeMap::new();
            for source in sources {
                files.extend(projected(name, source, *default_mode, context)?);
            }
            files
        }
        VolumeSource::EmptyDir { .. } | VolumeSource::HostPath { .. } | VolumeSource::Unsupported { .. } => {
            let kind = "kind without files of podling's".to_owned();
            return Err(VolumeError::Unsupported { volume: name.to_owned(), kind });
        }
    };
    // One file cannot be another's directory. In sorted order such a pair may have others between, so every
    // ancestor is looked up.
    for path in files.keys() {
        if path.match_indices('/').any(|(end, _)| files.contains_key(&path[..end])) {
            return Err(bad_path(name, path, "another item is a file where this one needs a directory"));
        }
    }
    Ok(files)
}

fn bad_path(volume: &str, path: &str, why: &'static str) -> VolumeError {
    VolumeError::BadPath { volume: volume.to_owned(), path: path.to_owned(), why }
}

fn projected(
    volume: &str,
    source: &Projection,
    default_mode: u32,
    context: &Context<'_>,
) -> Result<BTreeMap<String, File>, VolumeError> {
    match source {
        Projection::Object { kind, name, items, optional } => {
            let wanted = Wanted { kind: *kind, name, items, default_mode, optional: *optional };
            keyed::files(volume, &wanted, context.objects)
        }
        Projection::DownwardApi(items) => told(volume, items, default_mode, context),
        Projection::Token(wanted) => {
            let path = wanted.path.trim_end_matches('/').to_owned();
            check_path(&path).map_err(|why| bad_path(volume, &wanted.path, why))?;
            Ok([(path, token(volume, wanted, default_mode, context)?)].into())
        }
    }
}

/// A token's file: of the one user that all containers run as, or for the Pod's group, and only where neither is
/// known of the mode that every other file has, as the kubelet does.
fn token(
    volume: &str,
    wanted: &TokenProjection,
    default_mode: u32,
    context: &Context<'_>,
) -> Result<File, VolumeError> {
    let token = (context.tokens)(wanted)
        .ok_or_else(|| VolumeError::TokenMissing { volume: volume.to_owned(), path: wanted.path.clone() })?;
    let is_reader_known = context.user.is_some() || context.fs_group.is_some();
    let mode = if is_reader_known { TOKEN_MODE } else { default_mode };
    Ok(File { content: token.into_bytes(), mode, owner: context.user })
}

/// What the Pod is told about itself.
fn told(
    volume: &str,
    items: &[DownwardFile],
    default_mode: u32,
    context: &Context<'_>,
) -> Result<BTreeMap<String, File>, VolumeError> {
    let mut files = BTreeMap::new();
    for item in items {
        let path = item.path.trim_end_matches('/');
        check_path(path).map_err(|why| bad_path(volume, &item.path, why))?;
        let content = (context.downward)(&item.value).map_err(|source| VolumeError::Downward {
            volume: volume.to_owned(),
            path: item.path.clone(),
            source,
        })?;
        let mode = item.mode.unwrap_or(default_mode);
        files.insert(path.to_owned(), File::new(content.into_bytes(), mode));
    }
    Ok(files)
}

/// Whether a relative path stays in the volume and out of the way of the `..data` links.
pub(crate) fn check_path(path: &str) -> Result<(), &'static str> {
    if path.is_empty() || path.len() > 4095 || path.contains('\0') {
        return Err("it must have 1 to 4095 bytes, none of them NUL");
    }
    if path.starts_with('/') {
        return Err("it must be relative");
    }
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err("it must not contain empty parts, `.` or `..`");
    }
    if path.starts_with("..") {
        return Err("it must not begin with `..`");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use model::pod::{DownwardValue, KeyToPath, KeyedObject, Meta};

    use super::*;

    fn object(kind: ObjectKind, name: &str) -> Option<KeyedObject> {
        let data = ["a", "b"].map(|key| (key.to_owned(), format!("{name} {key}").into_bytes())).into();
        let meta = Meta { name: name.into(), ..Default::default() };
        (name != "absent").then_some(KeyedObject { kind, meta, data, immutable: false })
    }

    /// Path, content, mode and owner.
    type Shown = (String, String, u32, Option<u32>);

    /// The files of the volume in this YAML.
    fn written(source: &str, user: Option<u32>, fs_group: Option<u32>) -> Result<Vec<Shown>, VolumeError> {
        let text = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n  containers: [{{name: c, image: a, \
             volumeMounts: [{{name: v, mountPath: /v}}]}}]\n  volumes: [{{name: v, {source}}}]\n"
        );
        let manifest = model::manifest::parse("pod.yaml", text.as_bytes()).unwrap();
        let context = Context {
            data_dir: Path::new("/none"),
            run_dir: Path::new("/none"),
            fs_group,
            user,
            objects: &object,
            downward: &|value| match value {
                DownwardValue::Field(field) if field == "metadata.uid" => Err("not yet".into()),
                DownwardValue::Field(field) => Ok(format!("{field}?")),
                DownwardValue::Resource { container, resource, .. } => Ok(format!("{container} {resource}")),
            },
            tokens: &|token| Some(format!("for {:?}", token.audience)).filter(|_| token.path != "none"),
        };
        let files = files(&manifest.pods[0].spec.volumes[0], &context)?;
        let text = |content: Vec<u8>| String::from_utf8(content).unwrap();
        Ok(files.into_iter().map(|(path, file)| (path, text(file.content), file.mode, file.owner)).collect())
    }

    const ACCESS: &str = "projected: {defaultMode: 0444, sources: [\
        {serviceAccountToken: {path: token}}, \
        {configMap: {name: root, items: [{key: a, path: ca.crt, mode: 0440}]}}, \
        {downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}}]}";

    fn file(path: &str, content: &str, mode: u32, owner: Option<u32>) -> (String, String, u32, Option<u32>) {
        (path.into(), content.into(), mode, owner)
    }

    #[test]
    fn every_source_gives_its_files() {
        let files = written(ACCESS, None, None).unwrap();
        let expected = [
            file("ca.crt", "root a", 0o440, None),
            file("namespace", "metadata.namespace?", 0o444, None),
            file("token", "for None", 0o444, None),
        ];
        assert_eq!(files, expected);
    }

    #[test]
    fn a_token_is_its_readers_alone_where_they_are_known() {
        let token = |user, group| written(ACCESS, user, group).unwrap()[2].clone();
        assert_eq!(token(Some(7), None), file("token", "for None", 0o600, Some(7)));
        assert_eq!(token(None, Some(8)), file("token", "for None", 0o600, None));
    }

    #[test]
    fn a_later_source_wins() {
        let both = "projected: {sources: [{configMap: {name: one}}, {secret: {name: two, items: [{key: b, path: a}]}}]}";
        let expected = [file("a", "two b", 0o644, None), file("b", "one b", 0o644, None)];
        assert_eq!(written(both, None, None).unwrap(), expected);
    }

    #[test]
    fn what_is_missing_is_named() {
        let one = |source: &str| written(&format!("projected: {{sources: [{{{source}}}]}}"), None, None);
        let error = one("configMap: {name: absent}").unwrap_err();
        assert_eq!(error.waits_for(), Some((ObjectKind::ConfigMap, "absent")));
        assert!(one("configMap: {name: absent, optional: true}").unwrap().is_empty());
        let error = one("serviceAccountToken: {path: none}").unwrap_err();
        assert_eq!(error.to_string(), "volume \"v\" has no ServiceAccount token for \"none\"");
        let error =
            one("downwardAPI: {items: [{path: x, fieldRef: {fieldPath: metadata.uid}}]}").unwrap_err();
        assert_eq!(error.to_string(), "volume \"v\" cannot hold the file \"x\"");
    }

    #[test]
    fn a_file_cannot_be_a_directory_too() {
        let clash = "projected: {sources: [{configMap: {name: one, items: [{key: a, path: x/y}]}}, \
                     {configMap: {name: one, items: [{key: a, path: x}, {key: a, path: x-1}]}}]}";
        assert!(matches!(written(clash, None, None), Err(VolumeError::BadPath { .. })));
    }

    #[test]
    fn paths_that_leave_the_volume_are_refused_whoever_made_the_pod() {
        let context = Context {
            data_dir: Path::new("/none"),
            run_dir: Path::new("/none"),
            fs_group: None,
            user: None,
            objects: &object,
            downward: &|_| Ok(String::new()),
            tokens: &|_| Some(String::new()),
        };
        let path = || "../out".to_owned();
        let value = DownwardValue::Field("metadata.name".into());
        let items = vec![KeyToPath { key: "a".into(), path: path(), mode: None }];
        let sources = [
            Projection::Token(TokenProjection { audience: None, expiration_seconds: 600, path: path() }),
            Projection::DownwardApi(vec![DownwardFile { path: path(), mode: None, value }]),
            Projection::Object { kind: ObjectKind::Secret, name: "s".into(), items, optional: false },
        ];
        for source in sources {
            let source = VolumeSource::Projected { sources: vec![source], default_mode: 0o644 };
            let volume = Volume { name: "v".into(), source };
            assert!(matches!(files(&volume, &context), Err(VolumeError::BadPath { .. })), "{volume:?}");
        }
    }
}
