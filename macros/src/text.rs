//! Types as text, and the list of errors a macro reports at once.

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use quote::ToTokens;

/// The tokens of a type the way a person writes it: `Result<Vec<u8>, String>`, not `Result < Vec <
/// u8 > , String >`.
pub(crate) fn text(tokens: impl ToTokens) -> String {
    let mut out = String::new();
    write(tokens.to_token_stream(), &mut out);
    out
}

fn write(tokens: TokenStream, out: &mut String) {
    // What the previous token asks of the next: a word keeps words apart, a prefix (`mut`, `dyn`,
    // `'a`) everything.
    let (mut after_word, mut after_prefix, mut in_lifetime) = (false, false, false);
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        if after_prefix
            || (after_word && matches!(token, TokenTree::Ident(_) | TokenTree::Literal(_)))
        {
            out.push(' ');
        }
        (after_word, after_prefix) = (false, false);
        match token {
            TokenTree::Ident(ident) => {
                let word = ident.to_string();
                // A lifetime inside `<>` is followed by punctuation, one of a reference by its
                // type.
                let before_type = !matches!(tokens.peek(), Some(TokenTree::Punct(_)) | None);
                after_prefix = before_type
                    && (in_lifetime || matches!(&*word, "mut" | "dyn" | "const" | "impl"));
                after_word = true;
                in_lifetime = false;
                out.push_str(&word);
            }
            TokenTree::Literal(literal) => {
                after_word = true;
                out.push_str(&literal.to_string());
            }
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::Brace => ("{ ", " }"),
                    Delimiter::None => ("", ""),
                };
                out.push_str(open);
                write(group.stream(), out);
                out.push_str(close);
                after_word = group.delimiter() == Delimiter::None;
            }
            TokenTree::Punct(punct) => match punct.as_char() {
                '-' if punct.spacing() == Spacing::Joint => {
                    tokens.next();
                    out.push_str(" -> ");
                }
                sign @ ('=' | '+') => out.extend([' ', sign, ' ']),
                sign @ (',' | ';') => {
                    out.push(sign);
                    if tokens.peek().is_some() {
                        out.push(' ');
                    }
                }
                ':' if punct.spacing() == Spacing::Joint => {
                    tokens.next();
                    out.push_str("::");
                }
                ':' => out.push_str(": "),
                sign => {
                    in_lifetime = sign == '\'';
                    out.push(sign);
                }
            },
        }
    }
}

/// Everything that is wrong with an item, so that the user reads it in one go.
#[derive(Default)]
pub(crate) struct Errors(Option<syn::Error>);

impl Errors {
    /// Adds an error that underlines `place`.
    pub(crate) fn add(&mut self, place: impl ToTokens, message: impl std::fmt::Display) {
        self.push(syn::Error::new_spanned(place, message));
    }

    pub(crate) fn push(&mut self, error: syn::Error) {
        match &mut self.0 {
            Some(errors) => errors.combine(error),
            None => self.0 = Some(error),
        }
    }

    pub(crate) fn finish(self) -> syn::Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn types_read_as_they_are_written() {
        for source in [
            "Result<Vec<u8>, String>",
            "&str",
            "&mut [u8]",
            "&'a [u8]",
            "&'a str",
            "Cow<'_, str>",
            "std::path::PathBuf",
            "(u32, Option<&str>)",
            "[u8; 32]",
            "()",
            "Box<dyn Shape + Send>",
            "fn(u32) -> u64",
            "HashMap<String, [f64; 3]>",
        ] {
            let tokens: proc_macro2::TokenStream = source.parse().expect("the source of a type");
            assert_eq!(text(tokens), source);
        }
    }
}
