// Inside Airflow's UI the page follows its light or dark, which may differ from the system's.
if (window.parent !== window) {
  const outside = window.parent.document.documentElement;
  const follow = () => {
    const dark = outside.classList.contains("dark") || outside.dataset.theme === "dark";
    document.documentElement.style.colorScheme = dark ? "dark" : "light";
  };
  follow();
  // Airflow's frame lets no link lead out of it, so a click on one is done outside.
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[target=_top]");
    if (!link) return;
    event.preventDefault();
    const copy = window.parent.document.createElement("a");
    copy.href = link.href;
    copy.click();
  });
  new MutationObserver(follow).observe(outside, { attributes: true });
}
