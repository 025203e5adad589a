//! `Many`: one INSERT for many rows at once, for the way to the database's thread and back costs more than a row.

use sqlx::sqlite::SqliteArguments;
use sqlx::{Sqlite, SqliteConnection};

use crate::store::StoreError;

/// A statement and the values bound to it so far.
pub type Query = sqlx::query::Query<'static, Sqlite, SqliteArguments>;

/// Rows of one statement, largest first: rows are cut into the largest that fit. Few enough to stay prepared.
const SHAPES: [usize; 4] = [256, 32, 4, 1];

/// An INSERT for any number of rows.
pub struct Many([(usize, String); SHAPES.len()]);

impl Many {
    /// `head` ends before the rows, each of which has `columns` values; `tail` is what follows them.
    pub fn new(head: &str, columns: usize, tail: &str) -> Self {
        let row = format!("({})", vec!["?"; columns].join(", "));
        Self(SHAPES.map(|rows| (rows, format!("{head} {} {tail}", vec![&*row; rows].join(", ")))))
    }

    /// Writes `rows`, whose values `bind` adds in the order of the columns; returns how many rows changed.
    pub async fn write<R>(
        &'static self,
        connection: &mut SqliteConnection,
        mut rows: &[R],
        mut bind: impl FnMut(Query, &R) -> Query,
    ) -> Result<u64, StoreError> {
        let mut changed = 0;
        while let Some((most, text)) = self.0.iter().find(|(most, _)| *most <= rows.len()) {
            let (now, later) = rows.split_at(*most);
            let query = now.iter().fold(sqlx::query(text.as_str()), &mut bind);
            changed += query.execute(&mut *connection).await?.rows_affected();
            rows = later;
        }
        Ok(changed)
    }
}
