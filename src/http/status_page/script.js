// Updates the page in place, so that the reader's position is kept. Without JavaScript the page reloads itself.
const box = document.getElementById('auto'), stale = document.getElementById('stale');
box.parentElement.hidden = false;
setInterval(async () => {
  if (document.hidden || !box.checked) return;
  try {
    const text = await (await fetch(location.pathname)).text();
    const next = new DOMParser().parseFromString(text, 'text/html');
    for (const part of ['main', 'header p', 'footer']) {
      document.querySelector(part).innerHTML = next.querySelector(part).innerHTML;
    }
    const verdict = next.getElementById('verdict').textContent.replace(/ for .*/, '');
    const announcement = document.getElementById('announcement');
    if (document.body.className !== next.body.className) announcement.textContent = verdict;
    document.body.className = next.body.className;
    document.title = next.title;
    document.querySelector('link[rel=icon]').href = next.querySelector('link[rel=icon]').href;
    stale.hidden = true;
  } catch {
    stale.hidden = false;
  }
}, 5000);
