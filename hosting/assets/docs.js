// Renders the API reference. Everything it reads comes from this origin.
"use strict";

(function () {
  // The viewer's dark palette hangs on a class; the page follows the system as the rest of the site does.
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
  dark.addEventListener("change", follow);
  follow();

  window.SwaggerUIBundle({
    url: "/api/openapi.json",
    dom_id: "#api",
    deepLinking: true,
    defaultModelsExpandDepth: 0,
    docExpansion: "list",
    displayRequestDuration: true,
    // The default sends the document to a validator on another origin.
    validatorUrl: null,
    // A pasted token lives as long as the page, never in the browser's storage.
    persistAuthorization: false,
  });
})();
