// Beside the page, so that it also works behind a proxy that adds a path.
SwaggerUIBundle({
  url: new URL("openapi.json", document.baseURI).href,
  dom_id: "#docs",
  deepLinking: true,
  displayRequestDuration: true,
  tryItOutEnabled: true,
  // Swagger UI would ask a server of its makers otherwise.
  validatorUrl: null,
});
