//! What the admin API made, laid over the files: the same objects as in a file, their secrets apart.
//!
//! A secret becomes the reference `stored:KIND/ID/FIELD`, which resolves here and nowhere else. A resource whose name the files
//! have taken, or whose backend they no longer have, is left out and told: it never stops a start or a reload.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use headgate_providers::Secret;
use serde_json::{Value as Json, json};

use super::shape::Step;

/// The kinds of resources the admin API makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A backend.
    Backend,
    /// A limit group of a backend, its id `BACKEND:NAME`.
    Group,
    /// A key of a backend.
    Key,
    /// A route.
    Route,
    /// A tenant.
    Tenant,
    /// A token of the admin API.
    Token,
}

impl Kind {
    /// In the order in which one may need another.
    pub const ALL: [Self; 6] =
        [Self::Backend, Self::Group, Self::Key, Self::Route, Self::Tenant, Self::Token];

    /// Its fixed name: in the store, the audit trail and the admin API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Backend => "backend",
            Self::Group => "group",
            Self::Key => "key",
            Self::Route => "route",
            Self::Tenant => "tenant",
            Self::Token => "token",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One resource as it is laid over the files.
#[derive(Clone, Debug)]
pub struct Laid {
    /// What it is.
    pub kind: Kind,
    /// Its id.
    pub id: String,
    /// The object a file would hold, without secrets; a key's and a group's name their `backend` too.
    pub body: Json,
    /// Its secrets by option (`secret`, `headers.x-team`).
    pub secrets: BTreeMap<String, Secret>,
}

/// All of them, routes in the order in which they match.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    /// The resources.
    pub resources: Vec<Laid>,
}

/// A resource that is not in force, or the place of a problem in one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// What it is.
    pub kind: Kind,
    /// Its id.
    pub id: String,
    /// The option at fault, as the resource itself has it, where it is one.
    pub field: Option<String>,
    /// What is wrong, without any secret.
    pub text: String,
}

impl Laid {
    /// The same resource, left out.
    #[must_use]
    pub fn left_out(&self, field: Option<String>, text: impl Into<String>) -> LeftOut {
        LeftOut { kind: self.kind, id: self.id.clone(), field, text: text.into() }
    }
}

/// The files' tree with the overlay in it.
pub(super) struct Tree {
    /// The whole.
    pub tree: Json,
    /// Where each resource went: path of its object -> its index in the overlay.
    pub places: BTreeMap<String, usize>,
    /// The secrets by what follows `stored:`.
    pub secrets: BTreeMap<String, Secret>,
    /// What could not be laid.
    pub left_out: Vec<LeftOut>,
}

/// Lays `overlay` over `base`, but for the resources of the indices `without`.
pub(super) fn lay(base: &Json, overlay: &Overlay, without: &BTreeSet<usize>) -> Tree {
    let mut tree =
        Tree { tree: base.clone(), places: BTreeMap::new(), secrets: BTreeMap::new(), left_out: Vec::new() };
    let mut names = Names::of(base);
    for kind in Kind::ALL {
        let all = overlay.resources.iter().enumerate();
        for (index, laid) in all.filter(|(index, laid)| laid.kind == kind && !without.contains(index)) {
            match place(&mut tree.tree, &mut names, laid) {
                Ok(path) => {
                    tree.places.insert(path, index);
                    for (field, secret) in &laid.secrets {
                        tree.secrets.insert(reference(laid, field), secret.clone());
                    }
                }
                Err((field, text)) => tree.left_out.push(laid.left_out(field.map(str::to_owned), text)),
            }
        }
    }
    tree
}

impl Tree {
    /// The resource that the option at `path` belongs to, and the option as that resource has it.
    pub fn owner(&self, path: &str) -> Option<(usize, Option<String>)> {
        // The longest prefix: a key of a stored backend is the key's own.
        let (place, index) = self
            .places
            .iter()
            .filter(|(place, _)| {
                path.strip_prefix(place.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
            .max_by_key(|(place, _)| place.len())?;
        let field = path[place.len()..].strip_prefix('.').map(str::to_owned);
        Some((*index, field))
    }
}

/// What follows `stored:` for one secret.
fn reference(laid: &Laid, field: &str) -> String {
    format!("{}/{}/{field}", laid.kind.name(), laid.id)
}

/// Names that files or resources laid before have taken.
struct Names(BTreeSet<(Kind, String)>);

impl Names {
    fn of(base: &Json) -> Self {
        let mut names = BTreeSet::new();
        let list = |pointer: &str| base.pointer(pointer).and_then(Json::as_array).into_iter().flatten();
        let name = |item: &Json| item.get("name").and_then(Json::as_str).map(str::to_owned);
        for backend in list("/backends") {
            let Some(owner) = name(backend) else { continue };
            let below = |option: &str| backend.get(option).and_then(Json::as_array).into_iter().flatten();
            for group in below("limit_groups").filter_map(name) {
                names.insert((Kind::Group, format!("{owner}:{group}")));
            }
            for key in below("keys") {
                let Some(key_name) = name(key) else { continue };
                if key.get("limit_group").is_none() {
                    names.insert((Kind::Group, format!("{owner}:{key_name}")));
                }
                names.insert((Kind::Key, key_name));
            }
            names.insert((Kind::Backend, owner));
        }
        names.extend(list("/tenants").filter_map(name).map(|name| (Kind::Tenant, name)));
        names.extend(list("/auth/admin_tokens").filter_map(name).map(|name| (Kind::Token, name)));
        Self(names)
    }

    fn take(&mut self, laid: &Laid) -> Result<(), Refused> {
        if self.0.insert((laid.kind, laid.id.clone())) {
            return Ok(());
        }
        Err((Some("name"), format!("the configuration's files have a {} of this name", laid.kind.name())))
    }
}

/// The option at fault and why.
type Refused = (Option<&'static str>, String);

/// Puts the object where a file would have it; answers its path.
fn place(tree: &mut Json, names: &mut Names, laid: &Laid) -> Result<String, Refused> {
    names.take(laid)?;
    let Json::Object(mut object) = laid.body.clone() else {
        return Err((None, "is not an object".to_owned()));
    };
    for field in laid.secrets.keys() {
        let text = json!(format!("stored:{}", reference(laid, field)));
        match field.split_once('.') {
            None => object.insert(field.clone(), text),
            Some((outer, inner)) => {
                let table = object.entry(outer.to_owned()).or_insert_with(|| json!({}));
                table.as_object_mut().and_then(|table| table.insert(inner.to_owned(), text))
            }
        };
    }
    let (parent, path, option) = match laid.kind {
        Kind::Backend => (tree, String::new(), "backends"),
        Kind::Route => (tree, String::new(), "routes"),
        Kind::Tenant => (tree, String::new(), "tenants"),
        Kind::Token => (&mut tree["auth"], "auth".to_owned(), "admin_tokens"),
        Kind::Key | Kind::Group => {
            let option = if laid.kind == Kind::Key { "keys" } else { "limit_groups" };
            let owner = object.remove("backend");
            let owner = owner.as_ref().and_then(Json::as_str).unwrap_or_default();
            let all = tree.get_mut("backends").and_then(Json::as_array_mut);
            let found = all.into_iter().flatten().enumerate().find(|(_, backend)| backend["name"] == *owner);
            let Some((at, backend)) = found else {
                return Err((Some("backend"), format!("no backend is called `{}`", owner.escape_debug())));
            };
            (backend, format!("backends[{at}]"), option)
        }
    };
    if !parent[option].is_array() {
        parent[option] = json!([]);
    }
    let at = parent[option].as_array().map_or(0, Vec::len);
    if let Some(list) = parent[option].as_array_mut() {
        list.push(Json::Object(object));
    }
    Ok(Step::Index(at).after(&Step::Name(option.to_owned()).after(&path)))
}

/// The options of `base` that hold a reference only the overlay may hold.
pub(super) fn forged(base: &Json) -> Vec<String> {
    fn walk(path: &str, value: &Json, found: &mut Vec<String>) {
        match value {
            Json::String(text) if text.starts_with("stored:") => found.push(path.to_owned()),
            Json::Object(table) => {
                table
                    .iter()
                    .for_each(|(name, value)| walk(&Step::Name(name.clone()).after(path), value, found));
            }
            Json::Array(items) => {
                items
                    .iter()
                    .enumerate()
                    .for_each(|(at, value)| walk(&Step::Index(at).after(path), value, found));
            }
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
        }
    }
    let mut found = Vec::new();
    walk("", base, &mut found);
    found
}
