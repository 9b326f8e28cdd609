// A server never sees the fragment of an address, such as a section of the runbook. The browser keeps it until here.
const link = document.getElementById("log-in");
const address = new URL(link.href);
address.searchParams.set("next", address.searchParams.get("next") + window.location.hash);
link.href = address;
window.location.replace(address);
