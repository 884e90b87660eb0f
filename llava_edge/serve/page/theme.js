// Sets the chosen theme before anything is painted; a module would run too late for that.
// Without a choice the style sheet follows the system.
try {
  document.documentElement.dataset.theme = localStorage.getItem("theme") ?? "system";
} catch {
  document.documentElement.dataset.theme = "system"; // storage is switched off
}
