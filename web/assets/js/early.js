// Runs before anything is painted, so that a chosen look does not begin with the other one. Not a module: those wait.

document.documentElement.style.colorScheme = localStorage.getItem('synscope.look') ?? '';
