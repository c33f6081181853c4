//! `#[cached]`: from tokens to tokens. All that is wrong is said with its cure.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote};
use syn::meta::ParseNestedMeta;
use syn::parse::Parser as _;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned as _;
use syn::{Error, Expr, ExprLit, FnArg, Ident, ItemFn, Lit, LitStr, Pat, PatType, Result, ReturnType, Token, Type};

use super::durations::read_duration;

/// The form that a cached function has.
const FORM: &str = "async fn get_projects(kernel: &Kernel, workspace_id: &str) -> Result<Vec<Project>>";
/// What may stand in the parentheses.
const OPTIONS: &str = "ttl = 300, key = \"projects:{workspace_id}\", stale = \"1h\", ignore(limit)";
/// The longest text of a key beside its parts, so that the whole fits.
const LONGEST_TEXT: usize = 100;
/// Most arguments in a key, for the same reason.
const MOST_PARTS: usize = 4;

/// What stands in the parentheses.
#[derive(Default)]
struct Options {
    ttl_millis: Option<u64>,
    /// For how long besides an answer is given that is older than that.
    stale_millis: Option<u64>,
    key: Option<LitStr>,
    ignored: Vec<Ident>,
}

/// An argument or a field of one, as it stands in the key.
struct Part {
    argument: Ident,
    fields: Vec<Ident>,
}

/// Writes the function with its cache, and the one that invalidates.
pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let mut options = Options::default();
    syn::meta::parser(|meta| options.read(&meta)).parse2(arguments)?;
    let function: ItemFn = syn::parse2(item)
        .map_err(|error| Error::new(error.span(), format!("#[cached] stands above an async function: {FORM}")))?;
    let missing = |what: &str| Error::new(Span::call_site(), format!("#[cached] needs {what}: #[cached({OPTIONS})]"));
    let ttl_millis = options.ttl_millis.ok_or_else(|| missing("how long an answer is kept"))?;
    let key = options.key.clone().ok_or_else(|| missing("a key"))?;
    let inputs = check(&function)?;
    let (texts, parts) = read_key(&key)?;
    let (source, others) = inputs.split_first().expect("it has been checked that there is one");
    check_parts(&key, &parts, source, others, &options.ignored)?;

    let ItemFn { attrs, vis, sig, block, .. } = &function;
    let (ident, output, all) = (&sig.ident, &sig.output, &sig.inputs);
    let invalidate = format_ident!("{}_invalidate", ident);
    let ask = ask(&inputs, options.stale_millis);
    let in_key = others.iter().filter(|(name, _)| parts.iter().any(|part| part.argument == *name));
    let in_key: Vec<&PatType> = in_key.map(|(_, input)| *input).collect();
    let (source, source_input) = (&source.0, source.1);
    let cfgs: Vec<_> = attrs.iter().filter(|attr| attr.path().is_ident("cfg")).collect();
    let cache = quote!(::app_kernel::engine::cache);
    let pieces = parts.iter().map(|Part { argument, fields }| quote!(#cache::key_part(&#argument #(.#fields)*)));
    let pieces: Vec<_> = pieces.collect();
    let template = texts.iter().map(|text| text.replace('{', "{{").replace('}', "}}")).collect::<Vec<_>>().join("{}");
    let doc = format!("Forgets what [`{ident}`] has answered for these arguments.");
    Ok(quote! {
        #(#attrs)*
        #vis async fn #ident(#all) #output {
            async fn load(#all) #output #block

            let cached_in = ::core::clone::Clone::clone(#cache::HasCache::cache(&#source));
            let cached_at = ::std::format!(#template #(, #pieces)*);
            let cached_for = ::core::time::Duration::from_millis(#ttl_millis);
            #ask
        }

        #(#cfgs)*
        #[doc = #doc]
        #[allow(dead_code)]
        #vis async fn #invalidate(
            #source_input,
            #(#in_key),*
        ) -> ::core::result::Result<(), ::app_kernel::base::error::Error> {
            let cached_at = ::std::format!(#template #(, #pieces)*);
            #cache::HasCache::cache(&#source).delete(&cached_at).await
        }
    })
}

/// Asks the cache, and has it call the function where it must. A call beside, for an answer that is stale, may outlast the one who asked: what it
/// needs is its own.
fn ask(inputs: &[(Ident, &PatType)], stale_millis: Option<u64>) -> TokenStream {
    let names: Vec<&Ident> = inputs.iter().map(|(name, _)| name).collect();
    let Some(stale_millis) = stale_millis else {
        return quote!(cached_in.get_or_set(&cached_at, cached_for, load(#(#names),*)).await);
    };
    let is_borrowed = |input: &PatType| matches!(&*input.ty, Type::Reference(_));
    let owned = inputs.iter().map(|(name, input)| match is_borrowed(input) {
        true => quote!(let #name = ::std::borrow::ToOwned::to_owned(#name);),
        false => quote!(),
    });
    let given = inputs.iter().map(|(name, input)| if is_borrowed(input) { quote!(&#name) } else { quote!(#name) });
    quote! {
        let cached_too = ::core::time::Duration::from_millis(#stale_millis);
        #(#owned)*
        let cached_load = async move { load(#(#given),*).await };
        cached_in.get_or_refresh(&cached_at, cached_for, cached_too, cached_load).await
    }
}

/// The arguments with their names.
fn check(function: &ItemFn) -> Result<Vec<(Ident, &PatType)>> {
    let sig = &function.sig;
    if sig.asyncness.is_none() {
        return Err(Error::new_spanned(
            sig.fn_token,
            format!("a cached function is async; write `async fn {}`", sig.ident),
        ));
    }
    if sig.generics.type_params().next().is_some() || sig.generics.const_params().next().is_some() {
        return Err(Error::new_spanned(
            &sig.generics,
            "a cached function is not generic: calls with other types would share a key; write a function for each type",
        ));
    }
    let is_result = |ty: &Type| match ty {
        Type::Path(path) => path.path.segments.last().is_some_and(|last| last.ident.to_string().ends_with("Result")),
        _ => false,
    };
    if !matches!(&sig.output, ReturnType::Type(_, ty) if is_result(ty)) {
        return Err(Error::new(
            sig.output.span(),
            format!("a cached function answers a Result, whose errors are not kept; write `-> Result<..>`: {FORM}"),
        ));
    }
    let mut inputs = Vec::new();
    for input in &sig.inputs {
        let FnArg::Typed(input) = input else {
            return Err(Error::new_spanned(input, format!("a cached function has no self; take the kernel: {FORM}")));
        };
        let Pat::Ident(name) = &*input.pat else {
            return Err(Error::new_spanned(
                &input.pat,
                "an argument of a cached function has a plain name; take it apart inside",
            ));
        };
        if name.mutability.is_some() {
            return Err(Error::new_spanned(name, "an argument of a cached function is not `mut`; bind it anew inside"));
        }
        inputs.push((name.ident.clone(), input));
    }
    if inputs.is_empty() {
        return Err(Error::new_spanned(
            &sig.ident,
            format!("a cached function reaches its cache by its first argument; take the kernel: {FORM}"),
        ));
    }
    Ok(inputs)
}

/// The texts of a key, and the parts between them.
fn read_key(key: &LitStr) -> Result<(Vec<String>, Vec<Part>)> {
    let refuse = |message: String| Err(Error::new(key.span(), message));
    let value = key.value();
    let (mut texts, mut parts, mut rest) = (Vec::new(), Vec::new(), value.as_str());
    while let Some((text, after)) = rest.split_once('{') {
        let Some((inside, behind)) = after.split_once('}') else {
            return refuse(format!("a brace is not closed after `{text}`; write {{workspace_id}}"));
        };
        let mut path = Vec::new();
        for name in inside.trim().split('.') {
            let Ok(ident) = syn::parse_str::<Ident>(name) else {
                return refuse(format!(
                    "`{{{inside}}}` is no argument; in braces stands a name, or one with its fields: {{workspace_id}}, {{user.id}}"
                ));
            };
            path.push(Ident::new(&ident.to_string(), key.span()));
        }
        texts.push(text.to_owned());
        let argument = path.remove(0);
        parts.push(Part { argument, fields: path });
        rest = behind;
    }
    texts.push(rest.to_owned());
    let length: usize = texts.iter().map(String::len).sum();
    let is_out_of_place = |c: char| c.is_whitespace() || c.is_control() || c == '}';
    if texts.iter().any(|text| text.contains(is_out_of_place)) {
        return refuse("a key has no spaces and no single braces; write projects:{workspace_id}".to_owned());
    }
    if length == 0 {
        return refuse(
            "a key says in words what it is of, or two functions would share it; write projects:{workspace_id}"
                .to_owned(),
        );
    }
    if length > LONGEST_TEXT || parts.len() > MOST_PARTS {
        return refuse(format!(
            "a key has {LONGEST_TEXT} bytes beside its arguments at most, and {MOST_PARTS} of these; make it shorter"
        ));
    }
    if texts.iter().skip(1).take(parts.len().saturating_sub(1)).any(String::is_empty) {
        return refuse(
            "two arguments stand side by side in the key, so 1 and 23 would be 12 and 3; put a colon between them"
                .to_owned(),
        );
    }
    Ok((texts, parts))
}

/// Every part is an argument, and every argument is in the key or ignored.
fn check_parts(
    key: &LitStr,
    parts: &[Part],
    source: &(Ident, &PatType),
    others: &[(Ident, &PatType)],
    ignored: &[Ident],
) -> Result<()> {
    for Part { argument, .. } in parts {
        if !others.iter().any(|(name, _)| name == argument) {
            let known: Vec<String> = others.iter().map(|(name, _)| format!("{{{name}}}")).collect();
            let cure = match (*argument == source.0, known.is_empty()) {
                (true, _) => "the first one gives the cache and tells no two calls apart".to_owned(),
                (false, true) => "the function takes nothing beside the cache".to_owned(),
                (false, false) => format!("there are {}", known.join(", ")),
            };
            return Err(Error::new(
                key.span(),
                format!("`{{{argument}}}` in the key is no argument that can stand there; {cure}"),
            ));
        }
    }
    for (name, input) in others {
        if !parts.iter().any(|part| part.argument == *name) && !ignored.contains(name) {
            return Err(Error::new_spanned(
                input,
                format!(
                    "`{name}` is not in the key, so calls that differ in it would share an answer; add {{{name}}} to the key, \
                     or say that it makes no difference: ignore({name})"
                ),
            ));
        }
    }
    match ignored.iter().find(|ignored| !others.iter().any(|(name, _)| name == *ignored)) {
        Some(stranger) => Err(Error::new_spanned(
            stranger,
            format!("`{stranger}` is no argument beside the first; leave it out of ignore(..)"),
        )),
        None => Ok(()),
    }
}

impl Options {
    fn read(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let name = meta.path.get_ident().map(Ident::to_string).unwrap_or_default();
        let is_said_twice = match name.as_str() {
            "ttl" => self.ttl_millis.replace(read_time(&meta.value()?.parse()?)?).is_some(),
            "stale" => self.stale_millis.replace(read_time(&meta.value()?.parse()?)?).is_some(),
            "key" => self.key.replace(meta.value()?.parse()?).is_some(),
            "ignore" => {
                let content;
                syn::parenthesized!(content in meta.input);
                let names = Punctuated::<Ident, Token![,]>::parse_terminated(&content)?;
                !std::mem::replace(&mut self.ignored, names.into_iter().collect()).is_empty()
            }
            _ => return Err(meta.error(format!("#[cached] does not know this; it knows {OPTIONS}"))),
        };
        if is_said_twice { Err(meta.error(format!("`{name}` is said twice; keep one"))) } else { Ok(()) }
    }
}

/// Seconds, or a text with a unit, in milliseconds.
fn read_time(time: &Expr) -> Result<u64> {
    let refuse = || {
        Error::new(
            time.span(),
            "an answer is kept for a time from a second to a year: 300, or \"500ms\", \"5m\", \"2h\"",
        )
    };
    let millis = match time {
        Expr::Lit(ExprLit { lit: Lit::Int(secs), .. }) => {
            secs.base10_parse::<u64>().ok().and_then(|secs| secs.checked_mul(1000))
        }
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(read_duration(text)?),
        _ => None,
    };
    millis.filter(|millis| (1..=366 * 86_400_000).contains(millis)).ok_or_else(refuse)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(arguments: &str, item: &str) -> Result<String> {
        expand(arguments.parse().expect("tokens"), item.parse().expect("tokens")).map(|tokens| tokens.to_string())
    }

    fn refusal(arguments: &str, item: &str) -> String {
        expanded(arguments, item).expect_err("it is refused").to_string()
    }

    const GOOD: &str = "async fn get(kernel: &Kernel, workspace_id: &str) -> Result<u8> { Ok(1) }";

    /// Promise: K2
    #[test]
    fn what_can_not_be_cached_is_refused_with_the_cure() {
        for (item, cure) in [
            ("fn get(kernel: &Kernel, workspace_id: &str) -> Result<u8> { Ok(1) }", "write `async fn get`"),
            ("async fn get(kernel: &Kernel, workspace_id: &str) -> u8 { 1 }", "-> Result<..>"),
            ("async fn get(kernel: &Kernel, workspace_id: &str) { }", "-> Result<..>"),
            ("async fn get<T>(kernel: &Kernel, workspace_id: T) -> Result<u8> { Ok(1) }", "not generic"),
            ("async fn get(&self, workspace_id: &str) -> Result<u8> { Ok(1) }", "no self"),
            ("async fn get() -> Result<u8> { Ok(1) }", "take the kernel"),
            ("async fn get(kernel: &Kernel, Path(workspace_id): Path<String>) -> Result<u8> { Ok(1) }", "plain name"),
            ("async fn get(kernel: &Kernel, mut workspace_id: String) -> Result<u8> { Ok(1) }", "bind it anew"),
            (
                "async fn get(kernel: &Kernel, workspace_id: &str, page: u32) -> Result<u8> { Ok(1) }",
                "add {page} to the key",
            ),
            ("async fn get(kernel: &Kernel) -> Result<u8> { Ok(1) }", "nothing beside the cache"),
            ("async fn get(kernel: &Kernel, id: &str) -> Result<u8> { Ok(1) }", "there are {id}"),
            ("async fn get(workspace_id: &str) -> Result<u8> { Ok(1) }", "gives the cache"),
            ("struct Projects;", "above an async function"),
        ] {
            let message = refusal("ttl = 300, key = \"projects:{workspace_id}\"", item);
            assert!(message.contains(cure), "{item}: {message}");
        }
    }

    /// Promise: K2
    #[test]
    fn options_that_make_no_sense_are_refused_with_the_cure() {
        for (arguments, cure) in [
            ("", "#[cached(ttl = 300"),
            ("ttl = 300", "needs a key"),
            ("key = \"p:{workspace_id}\"", "how long"),
            ("ttl = 0, key = \"p:{workspace_id}\"", "from a second"),
            ("ttl = -5, key = \"p:{workspace_id}\"", "from a second"),
            ("ttl = 1.5, key = \"p:{workspace_id}\"", "from a second"),
            ("ttl = 99999999999999999, key = \"p:{workspace_id}\"", "from a second"),
            ("ttl = \"5 minutes\", key = \"p:{workspace_id}\"", "\"5m\""),
            ("ttl = 300, ttl = 300, key = \"p:{workspace_id}\"", "twice"),
            ("ttl = 300, key = \"p {workspace_id}\"", "no spaces"),
            ("ttl = 300, key = \"p:{workspace_id\"", "not closed"),
            ("ttl = 300, key = \"p:workspace_id}\"", "single braces"),
            ("ttl = 300, key = \"p:{}\"", "is no argument"),
            ("ttl = 300, key = \"p:{workspace id}\"", "is no argument"),
            ("ttl = 300, key = \"{workspace_id}\"", "says in words"),
            ("ttl = 300, key = \"p:{workspace_id}{workspace_id}\"", "colon between"),
            ("ttl = 300, key = \"p:{kernel}\"", "gives the cache"),
            ("ttl = 300, key = \"p:{workspace_id}\", ignore(page)", "leave it out"),
            ("ttl = 300, key = \"p:{workspace_id}\", stale = 0", "from a second"),
            ("ttl = 300, key = \"p:{workspace_id}\", stale = 3, stale = 3", "twice"),
            ("ttl = 300, key = \"p:{workspace_id}\", old = 3", "ignore(limit)"),
        ] {
            let message = refusal(arguments, GOOD);
            assert!(message.contains(cure), "{arguments}: {message}");
        }
    }

    #[test]
    fn the_key_is_made_of_escaped_parts() {
        let item = "async fn get(kernel: &Kernel, user: &User, limit: u32) -> Result<u8> { Ok(1) }";
        let written = expanded("ttl = \"5m\", key = \"p:{user.id}:x\", ignore(limit)", item).expect("a function");
        assert!(
            written.contains("format ! (\"p:{}:x\" , :: app_kernel :: engine :: cache :: key_part (& user . id))"),
            "{written}"
        );
        assert!(written.contains("from_millis (300000u64)"), "{written}");
        assert!(written.contains("async fn get_invalidate (kernel : & Kernel , user : & User) ->"), "{written}");
    }
    #[test]
    fn a_call_beside_has_what_it_needs_for_itself() {
        let arguments = "ttl = 300, stale = \"1h\", key = \"p:{id}:{page}\"";
        let item = "async fn get(kernel: &Kernel, id: &str, page: u32) -> Result<u8> { Ok(1) }";
        let written = expanded(arguments, item).expect("a function");
        assert!(written.contains("from_millis (3600000u64)"), "{written}");
        assert!(written.contains("let id = :: std :: borrow :: ToOwned :: to_owned (id) ;"), "{written}");
        assert!(!written.contains("let page"), "{written}");
        assert!(written.contains("load (& kernel , & id , page)"), "{written}");
        let without = expanded("ttl = 300, key = \"p:{id}:{page}\"", item).expect("a function");
        assert!(without.contains("get_or_set") && !without.contains("to_owned"), "{without}");
    }
}
