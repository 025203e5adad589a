//! Backends: what each provider needs and may not have, addresses, headers, proxies and trusted roots.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use headgate_providers::Secret;
use headgate_providers::capability::Rule;

use super::findings::Findings;
use super::special::is_special_host;
use super::{capabilities, keys, pem, sections, tables, url};
use crate::config::checked::{
    AuthScheme, Backend, BaseUrl, BedrockSurface, CloudTables, Deadlines, Park, ProviderSettings, Proxy,
};
use crate::config::raw::{self, Provider};
use crate::config::reference::Reference;

/// Where backends that the admin API made do not go.
const PRIVATE: &str = "this machine or a private or special network, expected a public host (server.allow_private_upstreams allows it)";

/// Clocks and parking times by provider, and what else a provider's backends share.
pub struct Base {
    anthropic: Shared,
    bedrock: Shared,
    vertex: Shared,
    openai: Shared,
    bedrock_tables: Arc<CloudTables>,
    vertex_tables: Arc<CloudTables>,
}

/// What every provider has of its own.
type Shared = (Deadlines, Park, Arc<[Rule]>);

impl Base {
    /// Lays `providers` over the global sections.
    pub fn new(
        raw: &raw::Providers,
        deadlines: &Deadlines,
        park: &Park,
        findings: &mut Findings<'_>,
    ) -> Self {
        let mut over = |name: &str, own: (&raw::Deadlines, &raw::Park, &[raw::Capability])| {
            let path = format!("providers.{name}");
            (
                sections::deadlines(&format!("{path}.deadlines"), own.0, deadlines, findings),
                sections::park(&format!("{path}.park"), own.1, park, findings),
                capabilities::rules(&format!("{path}.capabilities"), own.2, findings),
            )
        };
        Self {
            anthropic: over(
                "anthropic",
                (&raw.anthropic.deadlines, &raw.anthropic.park, &raw.anthropic.capabilities),
            ),
            bedrock: over("bedrock", (&raw.bedrock.deadlines, &raw.bedrock.park, &raw.bedrock.capabilities)),
            vertex: over("vertex", (&raw.vertex.deadlines, &raw.vertex.park, &raw.vertex.capabilities)),
            openai: over("openai", (&raw.openai.deadlines, &raw.openai.park, &raw.openai.capabilities)),
            bedrock_tables: Arc::new(tables::bedrock(&raw.bedrock, findings)),
            vertex_tables: Arc::new(tables::vertex(&raw.vertex, findings)),
        }
    }

    fn of(&self, provider: Provider) -> &Shared {
        match provider {
            Provider::Anthropic => &self.anthropic,
            Provider::Bedrock => &self.bedrock,
            Provider::Vertex => &self.vertex,
            Provider::OpenAi => &self.openai,
        }
    }
}

/// `backends`.
pub fn backends(raw: &[raw::Backend], base: &Base, findings: &mut Findings<'_>) -> Vec<Arc<Backend>> {
    let mut names = BTreeSet::new();
    let mut seen = keys::Seen::default();
    let mut backends = Vec::with_capacity(raw.len());
    for (index, raw) in raw.iter().enumerate() {
        let path = format!("backends[{index}]");
        let name = findings.name(&format!("{path}.name"), raw.name.as_deref(), &mut names);
        let mut backend = backend(&path, raw, base, findings);
        backend.name = name;
        if raw.provider.is_none() {
            let text = "is missing, expected anthropic, bedrock, vertex or openai";
            findings.wrong(format!("{path}.provider"), text);
        } else if raw.keys.is_empty() {
            findings.warn(&path, "has no keys: it serves nothing");
        } else {
            let groups = std::mem::take(&mut backend.limit_groups);
            let mut place = keys::Place { path: &path, provider: provider(raw), auth: backend.auth, groups };
            backend.keys = keys::keys(&mut place, &raw.keys, &mut seen, findings);
            backend.limit_groups = place.groups;
        }
        backends.push(Arc::new(backend));
    }
    backends
}

/// The dialect; where it is missing, which is reported, the plainest one, so that the rest can be judged.
fn provider(raw: &raw::Backend) -> Provider {
    raw.provider.unwrap_or(Provider::Anthropic)
}

/// Everything but the name and the keys.
fn backend(path: &str, raw: &raw::Backend, base: &Base, findings: &mut Findings<'_>) -> Backend {
    let (deadlines, park, capabilities) = base.of(provider(raw));
    let settings = provider_settings(path, raw, base, findings);
    let base_url = base_url(path, raw, findings).unwrap_or_else(|| own_address(&settings));
    let auth = raw.auth.unwrap_or(match provider(raw) {
        Provider::Anthropic => AuthScheme::XApiKey,
        Provider::Bedrock | Provider::Vertex | Provider::OpenAi => AuthScheme::Bearer,
    });
    Backend {
        name: String::new(),
        provider: settings,
        auth,
        headers: headers(path, &raw.headers, auth, findings),
        proxy: proxy(path, raw.proxy.as_ref(), &base_url, findings),
        base_url,
        ca_pem: raw.ca_file.as_ref().and_then(|file| roots(path, file, findings)),
        drain_on_disconnect: raw.drain_on_disconnect,
        deadlines: sections::deadlines(&format!("{path}.deadlines"), &raw.deadlines, deadlines, findings),
        park: sections::park(&format!("{path}.park"), &raw.park, park, findings),
        capabilities: match &raw.capabilities {
            Some(own) => capabilities::rules(&format!("{path}.capabilities"), own, findings),
            None => capabilities.clone(),
        },
        limit_groups: keys::groups(path, &raw.limit_groups, findings),
        keys: Vec::new(),
        guarded: findings.is_guarded(path),
    }
}

fn provider_settings(
    path: &str,
    raw: &raw::Backend,
    base: &Base,
    findings: &mut Findings<'_>,
) -> ProviderSettings {
    let provider = provider(raw);
    let places = [
        ("surface", raw.surface.is_some(), Provider::Bedrock),
        ("region", raw.region.is_some(), Provider::Bedrock),
        ("project", raw.project.is_some(), Provider::Vertex),
        ("location", raw.location.is_some(), Provider::Vertex),
    ];
    for (option, given, owner) in places {
        if given && owner != provider && raw.provider.is_some() {
            let text =
                format!("belongs to {} only, expected none with {}", owner.as_str(), provider.as_str());
            findings.wrong(format!("{path}.{option}"), text);
        }
    }
    let mut place = |option: &str, value: Option<&str>| {
        let option = format!("{path}.{option}");
        let text = findings.text(&option, value);
        // A project may be of a domain (`example.com:project`); the others become part of a host's name.
        let (also, expected): (&[u8], _) = match option.ends_with(".project") {
            true => (b"-_.:", "is not a name, expected letters, digits and - _ . :"),
            false => (b"-", "is not a name, expected letters, digits and -"),
        };
        if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || also.contains(&byte)) {
            findings.wrong(option, expected);
        }
        text
    };
    match provider {
        Provider::Anthropic => ProviderSettings::Anthropic,
        Provider::OpenAi => ProviderSettings::OpenAi,
        Provider::Bedrock => ProviderSettings::Bedrock {
            surface: raw.surface.unwrap_or(BedrockSurface::Runtime),
            region: place("region", raw.region.as_deref()),
            tables: base.bedrock_tables.clone(),
        },
        Provider::Vertex => ProviderSettings::Vertex {
            project: place("project", raw.project.as_deref()),
            location: place("location", raw.location.as_deref()),
            tables: base.vertex_tables.clone(),
        },
    }
}

fn base_url(path: &str, raw: &raw::Backend, findings: &mut Findings<'_>) -> Option<BaseUrl> {
    let guarded = findings.is_guarded(path);
    let path = format!("{path}.base_url");
    let url = match url::base_url(raw.base_url.as_ref()?.trim()) {
        Ok(url) => url,
        Err(text) => {
            findings.wrong(path, text);
            return None;
        }
    };
    if guarded && !url.https {
        findings.wrong(path, "is plain http, expected https (server.allow_private_upstreams allows it)");
        return None;
    }
    if guarded && is_special_host(&url.host) {
        findings.wrong(path, format!("leads to {PRIVATE}"));
        return None;
    }
    if !url.https && !url::is_loopback(&url.host) {
        findings.warn(&path, "is plain http to another machine: keys and messages travel readable");
    }
    if provider(raw) == Provider::Anthropic && (url.path.ends_with("/v1") || url.path.ends_with("/messages"))
    {
        findings.warn(&path, "ends in a part of the API's own path, to which /v1/messages is added");
    }
    Some(url)
}

/// Where a backend without a base URL is: the provider's own hosts, as its official SDKs have them.
fn own_address(settings: &ProviderSettings) -> BaseUrl {
    let path = match settings {
        ProviderSettings::OpenAi => "/v1",
        ProviderSettings::Bedrock { surface: BedrockSurface::Mantle, .. } => "/anthropic",
        ProviderSettings::Anthropic
        | ProviderSettings::Bedrock { surface: BedrockSurface::Runtime, .. }
        | ProviderSettings::Vertex { .. } => "",
    };
    BaseUrl { https: true, host: own_host(settings), port: 443, path: path.to_owned() }
}

fn own_host(settings: &ProviderSettings) -> String {
    match settings {
        ProviderSettings::Anthropic => "api.anthropic.com".to_owned(),
        ProviderSettings::OpenAi => "api.openai.com".to_owned(),
        ProviderSettings::Bedrock { surface: BedrockSurface::Runtime, region, .. } => {
            format!("bedrock-runtime.{region}.amazonaws.com")
        }
        ProviderSettings::Bedrock { surface: BedrockSurface::Mantle, region, .. } => {
            format!("bedrock-mantle.{region}.api.aws")
        }
        ProviderSettings::Vertex { location, .. } if location == "global" => {
            "aiplatform.googleapis.com".to_owned()
        }
        ProviderSettings::Vertex { location, .. } if ["us", "eu"].contains(&location.as_str()) => {
            format!("aiplatform.{location}.rep.googleapis.com")
        }
        ProviderSettings::Vertex { location, .. } => format!("{location}-aiplatform.googleapis.com"),
    }
}

fn proxy(
    path: &str,
    own: Option<&Reference>,
    upstream: &BaseUrl,
    findings: &mut Findings<'_>,
) -> Option<Proxy> {
    let guarded = findings.is_guarded(path);
    let path = format!("{path}.proxy");
    let (path, parsed) = if let Some(reference) = own {
        let text = findings.open_text(&path, reference)?;
        if text.expose() == "none" {
            return None;
        }
        let parsed = url::proxy(text.expose()).map(|proxy| Proxy { guarded, ..proxy });
        if parsed.as_ref().is_ok_and(|proxy| guarded && is_special_host(&proxy.host)) {
            findings.wrong(path, format!("leads to {PRIVATE}"));
            return None;
        }
        (path, parsed)
    } else {
        if !upstream.https || url::goes_direct(findings.env, &upstream.host, upstream.port) {
            return None;
        }
        let (variable, parsed) = url::environment_proxy(findings.env)?;
        (format!("{path} (from {variable})"), parsed)
    };
    parsed.map_err(|text| findings.wrong(path, text)).ok()
}

/// Headers that belong to the connection, the body or the provider's own signature.
const RESERVED: &[&str] = &[
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

fn headers(
    path: &str,
    raw: &BTreeMap<String, Reference>,
    auth: AuthScheme,
    findings: &mut Findings<'_>,
) -> Vec<(String, Secret)> {
    let mut names = BTreeSet::new();
    let mut headers = Vec::with_capacity(raw.len());
    for (written, reference) in raw {
        let path = format!("{path}.headers.{written}");
        let name = written.to_ascii_lowercase();
        let symbol = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(symbol) {
            findings.wrong(path, "is not a header's name, expected letters, digits and -");
            continue;
        }
        let identity = matches!(name.as_str(), "authorization" | "x-api-key") || name.starts_with("x-amz-");
        if RESERVED.contains(&name.as_str()) {
            findings.wrong(path, "belongs to the connection, expected a header that requests may add");
            continue;
        }
        if identity && auth != AuthScheme::None {
            findings.wrong(
                path,
                "would replace the key's own credentials, expected them in keys (or `auth: none`)",
            );
            continue;
        }
        if !names.insert(name.clone()) {
            findings.wrong(path, "is there twice, expected one spelling");
            continue;
        }
        if let Some(value) = findings.open_text(&path, reference) {
            headers.push((name, value));
        }
    }
    headers
}

fn roots(path: &str, file: &str, findings: &mut Findings<'_>) -> Option<Vec<u8>> {
    let path = format!("{path}.ca_file");
    findings.files.insert(file.into());
    match std::fs::read(file) {
        Ok(pem) => pem::certificates(&path, &pem, findings).map(|_| pem),
        Err(error) => {
            findings.wrong(path, format!("{file} cannot be read: {error}"));
            None
        }
    }
}
