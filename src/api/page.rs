//! Pages: `limit` and `offset` in, `{items, total, limit, offset}` out.

use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::extract::{FromParams, Params};

/// Which part of a listing is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageParams {
    /// How many rows, 1 to 10000.
    #[param(minimum = 1, maximum = 10000, default = 50, required = false)]
    pub(crate) limit: usize,
    /// How many rows to skip.
    #[param(minimum = 0, default = 0, required = false)]
    pub(crate) offset: usize,
}

impl PageParams {
    /// Every row.
    pub(crate) const ALL: Self = Self { limit: usize::MAX, offset: 0 };
}

impl Default for PageParams {
    fn default() -> Self {
        Self { limit: 50, offset: 0 }
    }
}

impl FromParams for PageParams {
    fn read(params: &mut Params) -> Self {
        let as_count = |number: i64| usize::try_from(number).unwrap_or(0);
        Self {
            limit: params.integer("limit", 1..=10_000).map_or(50, as_count),
            offset: params.integer("offset", 0..=i64::MAX).map_or(0, as_count),
        }
    }
}

/// The page that is wanted; longer ones than elsewhere by default.
#[derive(Debug, Clone, Copy, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct LongPage {
    /// How many rows, 1 to 10000.
    #[param(minimum = 1, maximum = 10_000, default = 100, required = false)]
    pub(crate) limit: usize,
    /// How many rows to skip.
    #[param(default = 0, required = false)]
    pub(crate) offset: usize,
}

impl FromParams for LongPage {
    fn read(params: &mut Params) -> Self {
        let as_count = |number: i64| usize::try_from(number).unwrap_or(0);
        Self {
            limit: params.integer("limit", 1..=10_000).map_or(100, as_count),
            offset: params.integer("offset", 0..=i64::MAX).map_or(0, as_count),
        }
    }
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Page<T> {
    /// The rows.
    pub(crate) items: Vec<T>,
    /// Rows before paging.
    pub(crate) total: usize,
    /// As asked.
    pub(crate) limit: usize,
    /// As asked.
    pub(crate) offset: usize,
}

impl<T> Page<T> {
    /// The part of `rows` that `params` asks for.
    pub(crate) fn of(rows: Vec<T>, params: PageParams) -> Self {
        let total = rows.len();
        let items = rows.into_iter().skip(params.offset).take(params.limit).collect();
        Self { items, total, limit: params.limit, offset: params.offset }
    }

    /// The same page of what `project` makes of its rows.
    pub(crate) fn map<U>(self, project: impl FnMut(T) -> U) -> Page<U> {
        let items = self.items.into_iter().map(project).collect();
        Page { items, total: self.total, limit: self.limit, offset: self.offset }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pages_put_together_are_the_listing(n_rows in 0_usize..50, limit in 1_usize..20) {
            let rows: Vec<u32> = (0..50).take(n_rows).collect();
            let mut seen = Vec::new();
            for offset in (0..=n_rows).step_by(limit) {
                let page = Page::of(rows.clone(), PageParams { limit, offset });
                prop_assert_eq!(page.total, n_rows);
                prop_assert!(page.items.len() <= limit);
                seen.extend(page.items);
            }
            prop_assert_eq!(seen, rows);
        }
    }

    #[test]
    fn an_offset_past_the_end_gives_an_empty_page() {
        let page = Page::of(vec![1_u32, 2], PageParams { limit: 50, offset: usize::MAX });
        assert_eq!((page.items, page.total), (vec![], 2));
    }
}
