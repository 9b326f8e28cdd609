// Inside Airflow's UI the page follows its light or dark, which may differ from the system's.
if (window.parent !== window) {
  const outside = window.parent.document.documentElement;
  const follow = () => {
    const dark = outside.classList.contains("dark") || outside.dataset.theme === "dark";
    document.documentElement.style.colorScheme = dark ? "dark" : "light";
  };
  follow();
  new MutationObserver(follow).observe(outside, { attributes: true });
}
