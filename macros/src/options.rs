//! The arguments of the attributes.

use proc_macro2::TokenStream;
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Ident, LitInt, LitStr, Path, Token};

/// `name = "…"` and `crate = path`, of `#[task]`, `task_fn!` and `#[shared]`.
#[derive(Default)]
pub(crate) struct TaskOptions {
    pub(crate) name: Option<LitStr>,
    krate: Option<Path>,
}

impl TaskOptions {
    pub(crate) fn parse(tokens: TokenStream) -> syn::Result<Self> {
        (|input: ParseStream<'_>| {
            let mut options = Self::default();
            while !input.is_empty() {
                options.parse_one(input)?;
                separator(input)?;
            }
            Ok(options)
        })
        .parse2(tokens)
    }

    /// Options before the closure of `task!`, each with a comma after it.
    pub(crate) fn parse_leading(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut options = Self::default();
        while input.peek(Ident::peek_any) && input.peek2(Token![=]) {
            options.parse_one(input)?;
            input.parse::<Token![,]>()?;
        }
        Ok(options)
    }

    fn parse_one(&mut self, input: ParseStream<'_>) -> syn::Result<()> {
        let key = key(input)?;
        match &*key.to_string() {
            "name" => {
                let name: LitStr = input.parse()?;
                if name.value().is_empty() {
                    return Err(syn::Error::new(name.span(), "the name can't be empty"));
                }
                once(&mut self.name, name, &key)
            }
            "crate" => once(&mut self.krate, crate_path(input)?, &key),
            _ => Err(syn::Error::new(
                key.span(),
                "unknown option: known are `name = \"…\"` and `crate = path`",
            )),
        }
    }

    pub(crate) fn krate(&self) -> Path {
        self.krate.clone().unwrap_or_else(default_crate)
    }
}

/// The options of `#[main]` and `#[test]`.
#[derive(Default)]
pub(crate) struct EntryOptions {
    /// Whether `flavor` is `"current_thread"`, if it is given.
    pub(crate) current_thread: Option<bool>,
    pub(crate) worker_threads: Option<LitInt>,
    krate: Option<Path>,
}

impl EntryOptions {
    pub(crate) fn parse(tokens: TokenStream) -> syn::Result<Self> {
        (|input: ParseStream<'_>| {
            let mut options = Self::default();
            while !input.is_empty() {
                options.parse_one(input)?;
                separator(input)?;
            }
            Ok(options)
        })
        .parse2(tokens)
    }

    fn parse_one(&mut self, input: ParseStream<'_>) -> syn::Result<()> {
        let key = key(input)?;
        match &*key.to_string() {
            "flavor" => {
                let flavor: LitStr = input.parse()?;
                let current_thread = match &*flavor.value() {
                    "current_thread" => true,
                    "multi_thread" => false,
                    _ => {
                        return Err(syn::Error::new(
                            flavor.span(),
                            "unknown flavor: write \"current_thread\" or \"multi_thread\"",
                        ));
                    }
                };
                once(&mut self.current_thread, current_thread, &key)
            }
            "worker_threads" => {
                let count: LitInt = input.parse()?;
                if count.base10_parse::<usize>()? == 0 {
                    return Err(syn::Error::new(
                        count.span(),
                        "a runtime needs at least one thread",
                    ));
                }
                once(&mut self.worker_threads, count, &key)
            }
            "crate" => once(&mut self.krate, crate_path(input)?, &key),
            _ => Err(syn::Error::new(
                key.span(),
                "unknown option: known are `flavor = \"…\"`, `worker_threads = N` and `crate = path`",
            )),
        }
    }

    pub(crate) fn krate(&self) -> Path {
        self.krate.clone().unwrap_or_else(default_crate)
    }
}

fn key(input: ParseStream<'_>) -> syn::Result<Ident> {
    let key = input.call(Ident::parse_any)?;
    input.parse::<Token![=]>()?;
    Ok(key)
}

fn separator(input: ParseStream<'_>) -> syn::Result<()> {
    if !input.is_empty() {
        input.parse::<Token![,]>()?;
    }
    Ok(())
}

fn once<T>(slot: &mut Option<T>, value: T, key: &Ident) -> syn::Result<()> {
    if slot.replace(value).is_some() {
        return Err(syn::Error::new(key.span(), format!("`{key}` is given twice")));
    }
    Ok(())
}

/// A path, also as a string, the way `serde` and `tokio` take it.
fn crate_path(input: ParseStream<'_>) -> syn::Result<Path> {
    if input.peek(LitStr) {
        input.parse::<LitStr>()?.parse_with(Path::parse_mod_style)
    } else {
        input.call(Path::parse_mod_style)
    }
}

fn default_crate() -> Path {
    syn::parse_quote!(::procpool)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::text;

    #[test]
    fn the_crate_defaults_and_is_taken_as_a_path_or_a_string() {
        for (source, expected) in [
            ("", "::procpool"),
            ("crate = crate", "crate"),
            ("crate = \"a::b\",", "a::b"),
            ("name = \"n\", crate = ::a::b", "::a::b"),
        ] {
            let options = TaskOptions::parse(source.parse().unwrap()).unwrap();
            assert_eq!(text(options.krate()), expected);
        }
    }

    #[test]
    fn runtime_options() {
        let options = "flavor = \"current_thread\", worker_threads = 3";
        let options = EntryOptions::parse(options.parse().unwrap()).unwrap();
        assert_eq!(options.current_thread, Some(true));
        assert_eq!(options.worker_threads.unwrap().base10_parse::<usize>().unwrap(), 3);
    }
}
