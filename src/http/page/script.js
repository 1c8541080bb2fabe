// Keeps the page up to date without losing the reader's place. Without it, the page reloads itself.
const box = document.getElementById('auto'), lost = document.getElementById('lost');
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
    const news = document.getElementById('news');
    if (document.body.className !== next.body.className) news.textContent = verdict;
    document.body.className = next.body.className;
    document.title = next.title;
    document.querySelector('link[rel=icon]').href = next.querySelector('link[rel=icon]').href;
    lost.hidden = true;
  } catch {
    lost.hidden = false;
  }
}, 5000);
