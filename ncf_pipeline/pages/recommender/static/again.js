// A preview is being computed: look again in a moment.
setTimeout(() => window.location.replace(window.location.pathname), 3000);
