//! A Rust file as the architecture test sees it: the paths its shipped code names, the modules it declares, its length.
//! Lexed by proc-macro2, so strings, comments and lifetimes can't fool it, and paths inside macros count too. Items under
//! `#[cfg(test)]` or `#[test]` are left out.

use std::collections::BTreeSet;

use proc_macro2::{Delimiter, Group, Spacing, TokenStream, TokenTree};

/// A path of two or more names, or anything that a `use` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PathUse {
    /// The names, `crate`, `super` and `self` included: `["crate", "base", "error"]`. A glob ends in `*`.
    pub(crate) names: Vec<String>,
    /// The inline modules it stands in, within its file.
    pub(crate) inside: Vec<String>,
    /// The line where it starts, from 1.
    pub(crate) line: usize,
}

/// A module that a file declares with `mod name;` or `mod name { .. }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Declared {
    /// Its name.
    pub(crate) name: String,
    /// Whether only tests have it.
    pub(crate) only_for_tests: bool,
}

/// What one file says, tests left out.
#[derive(Debug, Default)]
pub(crate) struct RustSource {
    /// What the code names.
    pub(crate) paths: Vec<PathUse>,
    /// The modules at the top of the file.
    pub(crate) modules: Vec<Declared>,
    /// How many lines have code on them: no tests, comments or blank lines.
    pub(crate) code_lines: usize,
    /// Whether `#![forbid(unsafe_code)]` stands in it.
    pub(crate) forbids_unsafe: bool,
}

impl RustSource {
    /// Reads a file.
    ///
    /// # Errors
    /// Where it is not Rust.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let stream: TokenStream = text.parse().map_err(|error| format!("is not Rust: {error}"))?;
        let mut reader = Reader::default();
        reader.read(&stream.into_iter().collect::<Vec<_>>(), true);
        reader.source.code_lines = reader.lines.len();
        Ok(reader.source)
    }
}

#[derive(Default)]
struct Reader {
    source: RustSource,
    lines: BTreeSet<usize>,
    inside: Vec<String>,
}

impl Reader {
    /// Reads the tokens of a file, a block or a macro call.
    fn read(&mut self, tokens: &[TokenTree], top_of_file: bool) {
        let mut at = 0;
        while at < tokens.len() {
            at = self.read_one(tokens, at, top_of_file);
        }
    }

    /// Reads what starts at `at` and tells where the next thing starts.
    fn read_one(&mut self, tokens: &[TokenTree], at: usize, top_of_file: bool) -> usize {
        if let Some((attribute, after)) = attribute(tokens, at) {
            let text = attribute.stream().to_string().replace(' ', "");
            if is_for_tests(&text) {
                return self.skip_item(tokens, after, top_of_file);
            }
            if text == "forbid(unsafe_code)" && is_punct(tokens.get(at + 1), '!') {
                self.source.forbids_unsafe = true;
            }
            // Doc comments are attributes too; they are prose, not code.
            if !text.starts_with("doc=") {
                self.mark(&tokens[at..after]);
                self.read(&attribute.stream().into_iter().collect::<Vec<_>>(), false);
            }
            return after;
        }
        match &tokens[at] {
            TokenTree::Group(group) => {
                self.group(group);
                at + 1
            }
            TokenTree::Ident(ident) => {
                self.mark(&tokens[at..=at]);
                match ident.to_string().as_str() {
                    "use" => self.use_item(tokens, at + 1),
                    "mod" => self.module(tokens, at + 1, top_of_file),
                    _ => self.path(tokens, at),
                }
            }
            token => {
                self.mark(std::slice::from_ref(token));
                at + 1
            }
        }
    }

    fn group(&mut self, group: &Group) {
        self.lines.insert(group.span_open().start().line);
        self.read(&group.stream().into_iter().collect::<Vec<_>>(), false);
        self.lines.insert(group.span_close().end().line);
    }

    fn mark(&mut self, tokens: &[TokenTree]) {
        for token in tokens {
            self.lines.extend(token.span().start().line..=token.span().end().line);
        }
    }

    /// `mod name;` or `mod name { .. }`, from the name on.
    fn module(&mut self, tokens: &[TokenTree], at: usize, top_of_file: bool) -> usize {
        let Some(TokenTree::Ident(name)) = tokens.get(at) else {
            return at;
        };
        if top_of_file {
            self.source.modules.push(Declared { name: plain(&name.to_string()), only_for_tests: false });
        }
        self.mark(&tokens[at..=at]);
        let Some(TokenTree::Group(body)) = tokens.get(at + 1) else {
            return at + 1;
        };
        self.inside.push(plain(&name.to_string()));
        self.group(body);
        self.inside.pop();
        at + 2
    }

    /// Leaves out the item after a test attribute: up to its braces or semicolon; a field or arm up to its comma.
    fn skip_item(&mut self, tokens: &[TokenTree], mut at: usize, top_of_file: bool) -> usize {
        while let Some((_, after)) = attribute(tokens, at) {
            at = after;
        }
        let mut is_item = false;
        while let Some(token) = tokens.get(at) {
            at += 1;
            match token {
                TokenTree::Ident(word) if word == "mod" && top_of_file => {
                    is_item = true;
                    if let Some(TokenTree::Ident(name)) = tokens.get(at) {
                        self.source.modules.push(Declared { name: plain(&name.to_string()), only_for_tests: true });
                    }
                }
                TokenTree::Ident(word) => is_item |= starts_item(&word.to_string()),
                TokenTree::Punct(punct) if punct.as_char() == ';' => break,
                TokenTree::Punct(punct) if punct.as_char() == ',' && !is_item => break,
                TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => break,
                _ => {}
            }
        }
        at
    }

    /// A `use` item, from behind the word on: every path of its tree.
    fn use_item(&mut self, tokens: &[TokenTree], at: usize) -> usize {
        let end = tokens[at..].iter().position(|token| is_punct(Some(token), ';'));
        let end = end.map_or(tokens.len(), |length| at + length);
        self.mark(&tokens[at..end]);
        self.use_trees(&tokens[at..end], &[]);
        end
    }

    /// The trees of a group, or the one of an item, each below `before`.
    fn use_trees(&mut self, tokens: &[TokenTree], before: &[String]) {
        for tree in tokens.split(|token| is_punct(Some(token), ',')) {
            let mut names = before.to_vec();
            for token in tree {
                match token {
                    // `a::b as c` names a::b.
                    TokenTree::Ident(word) if word == "as" => break,
                    TokenTree::Ident(name) => names.push(plain(&name.to_string())),
                    TokenTree::Punct(star) if star.as_char() == '*' => names.push("*".to_owned()),
                    TokenTree::Group(group) => {
                        let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                        self.use_trees(&inner, &names);
                        names.clear();
                        break;
                    }
                    _ => {}
                }
            }
            // `a::{self}` names a.
            if names.len() > before.len().max(1) && names.last().is_some_and(|name| name == "self") {
                names.pop();
            }
            if let (Some(first), false) = (tree.first(), names.is_empty()) {
                self.found(names, first);
            }
        }
    }

    /// A path in code, from its first name on: `a::b::<T>::c` names `a::b`. A single name is no path.
    fn path(&mut self, tokens: &[TokenTree], at: usize) -> usize {
        let mut names = Vec::new();
        let mut next = at;
        while let Some(TokenTree::Ident(name)) = tokens.get(next) {
            names.push(plain(&name.to_string()));
            self.mark(&tokens[next..=next]);
            next += 1;
            if !is_double_colon(tokens, next) {
                break;
            }
            next += 2;
        }
        if names.len() > 1 {
            self.found(names, &tokens[at]);
        }
        next
    }

    fn found(&mut self, names: Vec<String>, token: &TokenTree) {
        self.source.paths.push(PathUse { names, inside: self.inside.clone(), line: token.span().start().line });
    }
}

/// `#[..]` or `#![..]` at this place, and where what follows starts.
fn attribute(tokens: &[TokenTree], at: usize) -> Option<(&Group, usize)> {
    if !is_punct(tokens.get(at), '#') {
        return None;
    }
    let bracket = at + 1 + usize::from(is_punct(tokens.get(at + 1), '!'));
    match tokens.get(bracket) {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Bracket => Some((group, bracket + 1)),
        _ => None,
    }
}

/// Whether an attribute, written without spaces, keeps its item out of everything but tests.
fn is_for_tests(attribute: &str) -> bool {
    attribute == "test"
        || attribute == "cfg(test)"
        || attribute.starts_with("cfg(all(test,")
        || attribute.starts_with("tokio::test")
}

fn starts_item(word: &str) -> bool {
    let words = [
        "fn",
        "mod",
        "use",
        "impl",
        "struct",
        "enum",
        "union",
        "trait",
        "const",
        "static",
        "type",
        "async",
        "unsafe",
        "extern",
        "macro_rules",
        "let",
    ];
    words.contains(&word)
}

fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

fn is_double_colon(tokens: &[TokenTree], at: usize) -> bool {
    matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == ':' && punct.spacing() == Spacing::Joint)
        && is_punct(tokens.get(at + 1), ':')
}

/// `r#type` is called `type`.
fn plain(name: &str) -> String {
    name.strip_prefix("r#").unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::RustSource;

    fn paths(text: &str) -> Vec<String> {
        let source = RustSource::read(text).expect("Rust");
        source.paths.iter().map(|path| format!("{}:{}", path.line, path.names.join("::"))).collect()
    }

    #[test]
    fn every_path_of_a_use_tree_is_read() {
        let text =
            "use crate::{\n    a::{self, b as c, r#type},\n    d::*, e,\n};\nuse f;\npub(crate) use self::g::{h};\n";
        let wanted = "2:crate::a 2:crate::a::b 2:crate::a::type 3:crate::d::* 3:crate::e 5:f 6:self::g::h";
        assert_eq!(paths(text).join(" "), wanted);
    }

    #[test]
    fn paths_in_code_signatures_macros_and_attributes_are_read() {
        let text = "#[derive(x::Y)]\nfn f(a: &mut crate::b::C<super::d::E>) -> Vec<g::H> {\n    format!(\"{}\", crate::i::j::<k::L>());\n    <m::N as o::P>::q()\n}\n";
        let wanted = "1:x::Y 2:crate::b::C 2:super::d::E 2:g::H 3:crate::i::j 3:k::L 4:m::N 4:o::P";
        assert_eq!(paths(text).join(" "), wanted);
    }

    #[test]
    fn comments_strings_and_lifetimes_are_no_paths() {
        let text = "//! crate::a::b\n/// [`crate::c`]\n/* crate::d::e */\nfn f<'a>(x: &'a str) -> &'a str { r#\"crate::g::h\"#; 'c'; x }\n";
        assert_eq!(paths(text), Vec::<String>::new());
    }

    #[test]
    fn tests_are_left_out_with_their_lines_and_what_follows_is_not() {
        let text = "#[cfg(test)]\nmod tests {\n    use crate::a::b;\n}\n#[cfg(all(test, unix))]\n#[allow(x)]\nfn t<A, B>() -> [u8; 2] {\n    crate::c::d()\n}\n#[cfg(test)]\nmod server_tests;\nstruct S {\n    #[cfg(test)]\n    t: crate::e::F,\n    u: crate::g::H,\n}\n";
        assert_eq!(paths(text), ["15:crate::g::H"]);
        let source = RustSource::read(text).expect("Rust");
        assert_eq!(source.code_lines, 3);
        let modules: Vec<_> = source.modules.iter().map(|m| (m.name.as_str(), m.only_for_tests)).collect();
        assert_eq!(modules, [("tests", true), ("server_tests", true)]);
    }

    #[test]
    fn inline_modules_are_remembered() {
        let source = RustSource::read("mod a { mod b { use super::c; } }\nmod d;\n").expect("Rust");
        assert_eq!(source.paths[0].inside, ["a", "b"]);
        assert_eq!(source.modules.len(), 2);
    }

    #[test]
    fn code_lines_are_neither_comments_nor_blank() {
        let source = RustSource::read(
            "//! Doc.\n#![forbid(unsafe_code)]\n\n/// Doc.\n// Why.\nfn f() {\n    g(\n        \"a\n        b\",\n    );\n}\n",
        );
        let source = source.expect("Rust");
        assert_eq!(source.code_lines, 7);
        assert!(source.forbids_unsafe);
    }
}
