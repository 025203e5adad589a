//! `GET /admin/v1/usage` and `/usage/records`: the routes of [`super::usage`], which knows nothing of HTTP.

use std::io;

use actix_web::HttpResponse;
use bytes::Bytes;
use futures_util::future::{FutureExt as _, LocalBoxFuture};

use super::problem::Problem;
use super::usage::{self, Export, UsageError};
use super::{Answer, Asked};

/// Sums of usage.
pub fn sums(asked: Asked<'_>) -> LocalBoxFuture<'_, Result<Answer, Problem>> {
    async move {
        let Asked { gateway, query, body, .. } = asked;
        body.done()?;
        let store = gateway.registry.store().ok_or_else(no_store)?;
        let settings = gateway.settings().usage.clone();
        let answered = usage::usage(&store, &settings, &query.texts(), gateway.clock.wall()).await;
        told(answered)
    }
    .boxed_local()
}

/// Single records.
pub fn records(asked: Asked<'_>) -> LocalBoxFuture<'_, Result<Answer, Problem>> {
    async move {
        let Asked { gateway, query, body, .. } = asked;
        body.done()?;
        let store = gateway.registry.store().ok_or_else(no_store)?;
        let answered = usage::records(&store, &query.texts(), gateway.clock.wall()).await;
        told(answered)
    }
    .boxed_local()
}

fn no_store() -> Problem {
    Problem::unavailable("There is no store, so no usage is kept; see store.url.")
}

fn told(answered: Result<usage::Answer, UsageError>) -> Result<Answer, Problem> {
    match answered {
        Ok(usage::Answer::Whole { content_type, body }) => {
            let mut response = HttpResponse::Ok();
            Ok(Answer::Whole(super::shown(&mut response).content_type(content_type).body(body)))
        }
        Ok(usage::Answer::Pages { content_type, export }) => {
            let pages = futures_util::stream::try_unfold(export, next_page);
            let mut response = HttpResponse::Ok();
            Ok(Answer::Whole(super::shown(&mut response).content_type(content_type).streaming(pages)))
        }
        Err(UsageError::Query { field, text }) => Err(Problem::field(&field, text)),
        Err(UsageError::Store(error)) => Err(Problem::unavailable(error.to_string())),
        Err(error @ UsageError::Unwritable(_)) => Err(Problem::internal(error.to_string())),
    }
}

/// An export that breaks off is cut short, so that nobody takes a part for the whole.
async fn next_page(mut export: Box<Export>) -> Result<Option<(Bytes, Box<Export>)>, io::Error> {
    match export.next().await {
        Ok(page) => Ok(page.map(|page| (page.into(), export))),
        Err(error) => {
            tracing::warn!(%error, "an export of usage broke off");
            Err(io::Error::other(error))
        }
    }
}
