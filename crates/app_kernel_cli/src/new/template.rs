//! The files of a new service. They lie in `templates/` as they will be, but for three words in double braces.

use super::name::ServiceName;

/// A file, and where it goes.
pub(super) struct Template {
    path: &'static str,
    text: &'static str,
}

impl Template {
    /// Where it goes in the folder of this service.
    pub(super) fn path(&self, name: &ServiceName) -> String {
        self.path.replace("{{name}}", name.as_str())
    }

    /// The file for this service.
    pub(super) fn filled(&self, name: &ServiceName, kernel: &str) -> String {
        // The kernel comes last: a path may hold anything.
        self.text
            .replace("{{name}}", name.as_str())
            .replace("{{ident}}", &name.identifier())
            .replace("{{kernel}}", kernel)
    }
}

macro_rules! template {
    ($path:literal, $file:literal) => {
        Template { path: $path, text: include_str!(concat!("../../templates/", $file, ".tmpl")) }
    };
}

/// All of them.
pub(super) const TEMPLATES: [Template; 15] = [
    template!("Cargo.toml", "Cargo.toml"),
    template!("src/main.rs", "src/main.rs"),
    template!("src/lib.rs", "src/lib.rs"),
    template!("src/models.rs", "src/models.rs"),
    template!("src/routes.rs", "src/routes.rs"),
    template!("src/tasks.rs", "src/tasks.rs"),
    template!("tests/service.rs", "tests/service.rs"),
    template!("Dockerfile", "Dockerfile"),
    template!("compose.yaml", "compose.yaml"),
    template!("{{name}}.service", "systemd.service"),
    template!(".env.example", "env.example"),
    template!(".gitignore", "gitignore"),
    template!(".dockerignore", "dockerignore"),
    template!(".github/workflows/ci.yml", "ci/ci.yml"),
    template!("README.md", "README.md"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_braces_is_left() {
        let name = ServiceName::parse("my-shop").expect("a name");
        for template in TEMPLATES {
            let text = template.filled(&name, "version = \"1\"");
            assert!(!text.contains("{{") || text.contains("${{"), "{}", template.path);
            assert!(text.ends_with('\n') && !text.contains("app_kernel = { }"), "{}", template.path);
        }
    }
}
