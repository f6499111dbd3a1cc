for (const pair of document.querySelectorAll(".compare")) {
  const range = pair.querySelector("input");
  if (!range) continue;
  const show = () => {
    pair.style.setProperty("--at", range.value + "%");
    range.setAttribute("aria-valuetext", `${Math.round(range.value)} % ${pair.dataset.before || "as shot"}`);
  };
  range.addEventListener("input", show);
  range.addEventListener("keydown", (event) => {
    const direction = {ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1}[event.key];
    if (!direction || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    range.value = Number(range.value) + direction * (event.shiftKey ? 10 : 2);
    show();
  });
  show();
}
