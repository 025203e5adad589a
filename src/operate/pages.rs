//! Lists, page by page to their end; items stay the bytes that the gateway sent.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Ask, Client, Trouble};

/// Items asked for at once, the most that the API gives.
const PAGE: usize = 500;

/// A list, or its beginning.
pub struct Pages {
    /// The items, each as it came.
    pub items: Vec<Box<RawValue>>,
    more: bool,
    last_id: Option<String>,
    /// The only answer that was needed, as it came.
    whole: Option<Bytes>,
}

#[derive(Deserialize)]
struct Page {
    data: Vec<Box<RawValue>>,
    #[serde(default)]
    has_more: bool,
    #[serde(default)]
    last_id: Option<String>,
}

impl Pages {
    /// Reads the list at `path`, at most `most` items of it.
    ///
    /// # Errors
    /// Any [`Trouble`] of asking; an answer that is no list.
    pub async fn read(
        client: &Client,
        path: &str,
        query: &[(&'static str, String)],
        most: usize,
    ) -> Result<Self, Trouble> {
        let mut list = Self { items: Vec::new(), more: false, last_id: None, whole: None };
        let mut after = None;
        loop {
            let limit = PAGE.min(most.saturating_sub(list.items.len()));
            let mut ask =
                Ask::get(path).query("limit", Some(limit.to_string())).query("after", after.clone());
            ask.query.extend_from_slice(query);
            let body = client.ask(&ask).await?.body;
            let page: Page = serde_json::from_slice(&body)
                .map_err(|error| Trouble::Local(format!("the answer is no list: {error}")))?;
            list.whole = after.is_none().then_some(body);
            list.items.extend(page.data);
            list.more = page.has_more;
            list.last_id = page.last_id;
            // A gateway that repeats itself must not keep us for ever.
            if !list.more || list.items.len() >= most || list.last_id.is_none() || list.last_id == after {
                return Ok(list);
            }
            after.clone_from(&list.last_id);
        }
    }

    /// Keeps the items that fit.
    pub fn retain(&mut self, fits: impl Fn(&serde_json::Value) -> bool) {
        let before = self.items.len();
        self.items.retain(|item| serde_json::from_str(item.get()).is_ok_and(|item| fits(&item)));
        if self.items.len() != before {
            self.whole = None;
        }
    }

    /// One JSON document: the answer itself where one was enough, else the pages as one.
    #[must_use]
    pub fn document(&self) -> String {
        if let Some(whole) = &self.whole {
            return String::from_utf8_lossy(whole).into_owned();
        }
        let items: Vec<&str> = self.items.iter().map(|item| item.get()).collect();
        let last = serde_json::json!(self.last_id);
        format!("{{\"data\":[{}],\"has_more\":{},\"last_id\":{last}}}", items.join(","), self.more)
    }
}
