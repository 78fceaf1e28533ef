//! The body of a release record: JSON, gzip, base64. Reads what decisions need; edits in place.
//! Everything that an edit does not name keeps its bytes: unknown fields, number formats, order.

use std::io::Read;

use base64::{Engine, engine::general_purpose::STANDARD};
use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};
use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};

use super::Status;

/// Largest decoded body that is read, bytes. A Secret holds 1 MiB; charts compress by 5 to 20.
pub const MAX_DECODED: u64 = 64 << 20;

/// Most values in a decoded body, lists and objects among them. Each takes memory of its own once it is read, and a few bytes
/// can name one: 64 KiB of gzip could stand for some gigabytes.
pub const MAX_VALUES: usize = 1 << 20;

/// Largest stored payload, bytes: the API server's limit for the data of a Secret or ConfigMap.
pub const MAX_STORED: usize = 1 << 20;

/// First line of the manifest of a record that is set aside, see [`super::set_aside`].
pub(super) const SET_ASIDE: &str = "# helm-guard: set aside\n";

/// Whether a JSON text, with its quotation marks, is the manifest of such a record.
fn is_set_aside(manifest: &str) -> bool {
    manifest.starts_with("\"# helm-guard: set aside\\n")
}

/// Why a record's body cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// Not base64.
    #[error("not base64")]
    Base64,
    /// Not gzip, or cut off.
    #[error("not gzip, or cut off")]
    Gzip,
    /// More than [`MAX_DECODED`].
    #[error("more than the {} MiB that helm-guard reads", MAX_DECODED >> 20)]
    TooLarge,
    /// More than [`MAX_VALUES`].
    #[error("more than the {MAX_VALUES} values that helm-guard reads")]
    TooMany,
    /// Not the JSON of a release.
    #[error("not the JSON of a Helm release: {0}")]
    Json(String),
    /// The edited body does not fit its object any more.
    #[error("the edited record has {0} bytes, a Secret holds 1 MiB")]
    DoesNotFit(usize),
}

impl CodecError {
    /// Is this a limit of helm-guard's own? Helm reads such a record.
    pub fn is_own_limit(&self) -> bool {
        matches!(self, Self::TooLarge | Self::TooMany)
    }
}

/// What is wrong with a JSON text, without the text: the parser quotes what it stumbles over, and that may be secret.
pub(crate) fn unquoted(error: &serde_json::Error) -> String {
    use serde_json::error::Category;
    let text = error.to_string();
    let what = match error.classify() {
        Category::Eof => "it is cut off",
        Category::Data if text.starts_with("missing field") => return text,
        Category::Data => "a part is of another kind",
        Category::Syntax | Category::Io => "it is not JSON",
    };
    format!("{what}, line {} column {}", error.line(), error.column())
}

/// What decisions and reports need of a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Essentials {
    /// `info.status`.
    pub status: Status,
    /// `info.description`. Untrusted text.
    pub description: String,
    /// `info.last_deployed`, RFC 3339; empty if absent.
    pub last_deployed: String,
    /// `name-version` of the chart.
    pub chart: String,
    /// App version of the chart.
    pub app_version: String,
    /// Helm 4's `apply_method`: `ssa`, `csa`, or empty, which means `csa`.
    pub apply_method: String,
    /// Hooks and how their last run ended.
    pub hooks: Vec<HookRun>,
    /// Is the body more than helm-guard holds? Then its manifest and values are not known, which is no fault of the record.
    pub is_large: bool,
    /// Is the record set aside (see `set_aside`)?
    pub set_aside: bool,
    /// Is there no `info`, over which Helm falls? Then the status is that of the label.
    pub no_info: bool,
}

/// A hook of a release.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct HookRun {
    #[serde(deserialize_with = "or_null")]
    name: String,
    #[serde(deserialize_with = "or_null")]
    kind: String,
    #[serde(deserialize_with = "or_null")]
    events: Vec<String>,
    #[serde(deserialize_with = "or_null")]
    last_run: LastRun,
    #[serde(deserialize_with = "or_null")]
    delete_policies: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct LastRun {
    #[serde(deserialize_with = "or_null")]
    started_at: String,
    #[serde(deserialize_with = "or_null")]
    completed_at: String,
    #[serde(deserialize_with = "or_null")]
    phase: String,
}

impl HookRun {
    /// Does it run on install?
    pub fn is_install(&self) -> bool {
        self.events.iter().any(|event| event == "pre-install" || event == "post-install")
    }

    /// Does it run before anything is applied?
    pub fn is_first(&self) -> bool {
        self.events.iter().any(|event| event == "pre-install" || event == "pre-upgrade")
    }

    /// Does it run at this event?
    pub fn runs_at(&self, event: &str) -> bool {
        self.events.iter().any(|own| own == event)
    }

    /// Did it succeed when it last ran?
    pub fn succeeded(&self) -> bool {
        self.last_run.phase == "Succeeded"
    }

    /// Did it fail when it last ran?
    pub fn failed(&self) -> bool {
        self.last_run.phase == "Failed"
    }

    /// When it last began, RFC 3339, by the clock of the machine of Helm; empty if it never did.
    pub fn started(&self) -> &str {
        &self.last_run.started_at
    }

    /// When it last ended, RFC 3339, by the same clock; empty, or no time after the start, if it did not.
    pub fn completed(&self) -> &str {
        &self.last_run.completed_at
    }

    /// Does it run when everything is applied?
    pub fn is_last(&self) -> bool {
        self.events.iter().any(|event| event.starts_with("post-"))
    }

    /// Is one of an earlier run deleted before it runs? By default it is, and Helm writes that down before it begins.
    pub fn replaces_its_predecessor(&self) -> bool {
        self.delete_policies.iter().any(|policy| policy == "before-hook-creation")
    }

    /// `Kind/name`.
    pub fn label(&self) -> String {
        format!("{}/{}", self.kind, self.name)
    }
}

/// Decodes a payload as all storages hold it: base64 of gzip of JSON. Old Helms wrote JSON without gzip.
///
/// # Errors
/// When it is not that, or grows beyond [`MAX_DECODED`] or [`MAX_VALUES`].
pub fn decode(payload: &[u8]) -> Result<Vec<u8>, CodecError> {
    let mut json = unbase64(payload)?;
    if json.starts_with(&[0x1f, 0x8b]) {
        let mut unpacked = Vec::new();
        MultiGzDecoder::new(json.as_slice())
            .take(MAX_DECODED + 1)
            .read_to_end(&mut unpacked)
            .map_err(|_| CodecError::Gzip)?;
        json = unpacked;
    }
    match json.len() as u64 {
        length if length > MAX_DECODED => Err(CodecError::TooLarge),
        // So many are in no fewer bytes.
        length if length > MAX_VALUES as u64 && values(&json) > MAX_VALUES => Err(CodecError::TooMany),
        _ => Ok(json),
    }
}

/// Base64 as Go reads it: line breaks do not matter.
pub(super) fn unbase64(payload: &[u8]) -> Result<Vec<u8>, CodecError> {
    let is_break = |byte: &u8| matches!(byte, b'\n' | b'\r');
    let payload = payload.trim_ascii();
    if payload.iter().any(is_break) {
        let one_line: Vec<u8> = payload.iter().copied().filter(|byte| !is_break(byte)).collect();
        return STANDARD.decode(one_line).map_err(|_| CodecError::Base64);
    }
    STANDARD.decode(payload).map_err(|_| CodecError::Base64)
}

/// A text that may be `null`, which Go takes for an empty one.
fn or_null<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Option::deserialize(from).map(Option::unwrap_or_default)
}

/// How many values there are in a JSON text: each but the first follows a comma, a colon or a bracket that is not in a text.
fn values(json: &[u8]) -> usize {
    let (mut count, mut in_text, mut is_escaped) = (0, false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = in_text,
            b'"' => in_text = !in_text,
            b',' | b'[' | b'{' if !in_text => count += 1,
            _ => {}
        }
    }
    count
}

/// The reverse of [`decode`], at the compression level that Helm uses.
///
/// # Errors
/// When the result has more than `limit` bytes, such as [`MAX_STORED`].
pub fn encode(json: &[u8], limit: usize) -> Result<Vec<u8>, CodecError> {
    use std::io::Write;
    let mut gzip = GzEncoder::new(Vec::with_capacity(json.len() / 4), Compression::best());
    let packed = gzip.write_all(json).and_then(|()| gzip.finish()).map_err(|_| CodecError::Gzip)?;
    let payload = STANDARD.encode(packed).into_bytes();
    if payload.len() > limit { Err(CodecError::DoesNotFit(payload.len())) } else { Ok(payload) }
}

/// Reads the [`Essentials`] of a decoded body.
///
/// # Errors
/// When it is not the JSON of a release.
pub fn essentials(json: &[u8]) -> Result<Essentials, CodecError> {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(default)]
        info: Option<Info>,
        #[serde(default)]
        version: i64,
        #[serde(default)]
        chart: Option<Chart>,
        #[serde(default)]
        hooks: Option<Vec<HookRun>>,
        #[serde(default, deserialize_with = "or_null")]
        apply_method: String,
        #[serde(default, borrow)]
        manifest: Option<&'a RawValue>,
    }
    #[derive(Default, Deserialize)]
    struct Info {
        #[serde(default)]
        status: String,
        #[serde(default, deserialize_with = "or_null")]
        description: String,
        #[serde(default, deserialize_with = "or_null")]
        last_deployed: String,
    }
    #[derive(Default, Deserialize)]
    struct Chart {
        #[serde(default)]
        metadata: Option<Metadata>,
    }
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Metadata {
        #[serde(deserialize_with = "or_null")]
        name: String,
        #[serde(deserialize_with = "or_null")]
        version: String,
        #[serde(deserialize_with = "or_null")]
        app_version: String,
    }
    let body: Body = serde_json::from_slice(json).map_err(|error| CodecError::Json(unquoted(&error)))?;
    let chart = body.chart.and_then(|chart| chart.metadata).unwrap_or_default();
    // What does not even say which revision it is of is not the JSON of a release.
    let missing = |field: &str| CodecError::Json(format!("missing field `{field}`"));
    let (no_info, is_of_none) = (body.info.is_none(), body.version < 1);
    let info = match body.info {
        None if is_of_none => return Err(missing("info")),
        Some(info) if is_of_none && info.status.is_empty() => return Err(missing("status")),
        info => info.unwrap_or_default(),
    };
    Ok(Essentials {
        status: Status::parse(&info.status),
        description: info.description,
        last_deployed: info.last_deployed,
        no_info,
        chart: if chart.name.is_empty() {
            String::new()
        } else {
            format!("{}-{}", chart.name, chart.version)
        },
        app_version: chart.app_version,
        apply_method: body.apply_method,
        hooks: body.hooks.unwrap_or_default(),
        is_large: false,
        set_aside: body.manifest.is_some_and(|manifest| is_set_aside(manifest.get())),
    })
}

/// The release, and the revision of it, that a decoded body says it is of.
///
/// # Errors
/// When it is not the JSON of a release.
pub fn identity(json: &[u8]) -> Result<(String, u32), CodecError> {
    #[derive(Deserialize)]
    struct Body {
        name: String,
        version: u32,
    }
    let body: Body = serde_json::from_slice(json).map_err(|error| CodecError::Json(unquoted(&error)))?;
    Ok((body.name, body.version))
}

/// The rendered manifest in a decoded body.
///
/// # Errors
/// When it is not the JSON of a release.
pub fn manifest(json: &[u8]) -> Result<String, CodecError> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(default, deserialize_with = "or_null")]
        manifest: String,
    }
    let body: Body = serde_json::from_slice(json).map_err(|error| CodecError::Json(unquoted(&error)))?;
    Ok(body.manifest)
}

/// What a record says of a deploy that is about to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Planned {
    /// All objects, hooks among them, as Helm prints them.
    pub manifest: String,
    /// Those that are hooks.
    pub hooks: String,
    /// A first install?
    pub installs: bool,
    /// Helm 4's server-side apply?
    pub server_side: bool,
    /// Is it a Helm 4 that wrote it? Only that says how it applies.
    pub is_v4: bool,
}

/// Reads what is about to be done out of a decoded body.
///
/// # Errors
/// When it is not the JSON of a release.
pub fn planned(json: &[u8]) -> Result<Planned, CodecError> {
    let texts = texts(json)?;
    let hooks = texts.hooks.iter().fold(String::new(), |all, hook| format!("{all}\n---\n{hook}"));
    let essentials = essentials(json)?;
    Ok(Planned {
        manifest: texts.manifest + &hooks,
        hooks,
        installs: essentials.status == Status::PendingInstall,
        server_side: essentials.apply_method == "ssa",
        is_v4: !essentials.apply_method.is_empty(),
    })
}

/// What was rendered, as a record has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    /// The manifest.
    pub manifest: String,
    /// Those of the hooks, in the order of [`Essentials::hooks`].
    pub hooks: Vec<String>,
}

/// Reads what was rendered out of a decoded body.
///
/// # Errors
/// When it is not the JSON of a release.
pub fn texts(json: &[u8]) -> Result<Texts, CodecError> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(default, deserialize_with = "or_null")]
        manifest: String,
        #[serde(default)]
        hooks: Option<Vec<Hook>>,
    }
    #[derive(Deserialize)]
    struct Hook {
        #[serde(default, deserialize_with = "or_null")]
        manifest: String,
    }
    let body: Body = serde_json::from_slice(json).map_err(|error| CodecError::Json(unquoted(&error)))?;
    let hooks = body.hooks.unwrap_or_default().into_iter().map(|hook| hook.manifest).collect();
    Ok(Texts { manifest: body.manifest, hooks })
}

/// Which parts of a decoded body are how large, bytes, the largest first.
///
/// # Errors
/// When it is not the JSON of a release.
pub fn sizes(json: &[u8]) -> Result<Vec<(&'static str, usize)>, CodecError> {
    let body = parse(json)?;
    let size = |part: &Option<&Box<RawValue>>| part.map_or(0, |part| part.get().len());
    let chart = body.get("chart").and_then(|chart| parse(chart.get().as_bytes()).ok()).unwrap_or_default();
    let mut sizes = vec![
        ("files of the chart", size(&chart.get("files"))),
        ("templates of the chart", size(&chart.get("templates"))),
        ("default values of the chart", size(&chart.get("values"))),
        ("schema of the chart", size(&chart.get("schema"))),
        ("values", size(&body.get("config"))),
        ("rendered objects", size(&body.get("manifest"))),
        ("rendered hooks", size(&body.get("hooks"))),
    ];
    sizes.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    sizes.retain(|(_, size)| *size > 2);
    Ok(sizes)
}

/// The values the user gave, as JSON text; `{}` when there were none.
///
/// # Errors
/// When it is not the JSON of a release.
pub fn config(json: &[u8]) -> Result<String, CodecError> {
    let body = parse(json)?;
    Ok(body
        .get("config")
        .map(|config| config.get())
        .filter(|config| *config != "null")
        .unwrap_or("{}")
        .to_owned())
}

/// A change to a body. `None` leaves a part as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edit {
    /// New `info.status`.
    pub status: Option<Status>,
    /// New `info.description`.
    pub description: Option<String>,
    /// New `manifest`, lent for the time of one Helm run (see `repair`).
    pub manifest: Option<String>,
    /// Decoded body of the revision whose `chart` and `config` are lent for the time of one Helm run.
    pub values_of: Option<Vec<u8>>,
    /// New manifests of all hooks, in their order; a hook without one is taken out.
    pub hooks: Option<Vec<Option<String>>>,
}

/// Applies an edit to a decoded body; all else keeps its bytes.
///
/// # Errors
/// When either body is not the JSON of a release.
pub fn edit(json: &[u8], edit: &Edit) -> Result<Vec<u8>, CodecError> {
    let error = |error: serde_json::Error| CodecError::Json(unquoted(&error));
    let mut body = parse(json)?;
    let mut info: IndexMap<String, Box<RawValue>> = match body.get("info").filter(|info| info.get() != "null")
    {
        Some(info) => serde_json::from_str(info.get()).map_err(error)?,
        None => IndexMap::new(),
    };
    if let Some(status) = edit.status {
        info.insert("status".into(), to_raw_value(status.as_str()).map_err(error)?);
    }
    if let Some(description) = &edit.description {
        info.insert("description".into(), to_raw_value(description).map_err(error)?);
    }
    body.insert("info".into(), to_raw_value(&info).map_err(error)?);
    if let Some(manifest) = &edit.manifest {
        body.insert("manifest".into(), to_raw_value(manifest).map_err(error)?);
    }
    if let (Some(texts), Some(hooks)) = (&edit.hooks, body.get("hooks")) {
        let hooks: Vec<IndexMap<String, Box<RawValue>>> = serde_json::from_str(hooks.get()).map_err(error)?;
        let mut kept = Vec::with_capacity(hooks.len());
        for (mut hook, text) in hooks.into_iter().zip(texts) {
            let Some(text) = text else { continue };
            hook.insert("manifest".into(), to_raw_value(text).map_err(error)?);
            kept.push(hook);
        }
        body.insert("hooks".into(), to_raw_value(&kept).map_err(error)?);
    }
    if let Some(lender) = &edit.values_of {
        let lender = parse(lender)?;
        for part in ["chart", "config"] {
            match lender.get(part) {
                Some(value) => body.insert(part.into(), value.clone()),
                None => body.shift_remove(part),
            };
        }
    }
    serde_json::to_vec(&body).map_err(error)
}

fn parse(json: &[u8]) -> Result<IndexMap<String, Box<RawValue>>, CodecError> {
    serde_json::from_slice(json).map_err(|error| CodecError::Json(unquoted(&error)))
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
