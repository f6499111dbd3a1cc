for (const player of document.querySelectorAll(".player")) {
  const facts = JSON.parse(player.dataset.motion);
  const find = (selector) => player.querySelector(selector);
  const [result, before] = player.querySelectorAll("canvas");
  const play = find(".play"), seek = find(".seek"), panel = find(".panel"), speed = find(".speed"), note = find(".status");
  const last = facts.labels.length - 1;
  const video = document.createElement("video");
  video.muted = video.loop = video.playsInline = true;
  video.preload = "auto";
  let at = 0; // the frame that is shown, or sought while the video pauses
  const show = (frame) => {
    if (video.readyState < 2) return;
    const number = panel ? Number(panel.value) : 0;
    for (const [canvas, place] of [[result, 0], [before, number]])
      canvas?.getContext("2d").drawImage(video, 0, place * facts.pitch, facts.width, facts.height, 0, 0, facts.width, facts.height);
    player.classList.add("drawn");
    at = Math.min(last, Math.max(0, frame));
    seek.value = at;
    seek.setAttribute("aria-valuetext", facts.labels[at]);
    note.textContent = facts.labels[at];
  };
  const frameAt = (seconds) => Math.floor(seconds * facts.rate + 0.01);
  const stay = () => { video.currentTime = (at + 0.5) / facts.rate; };
  const showSought = () => video.paused && !video.seeking && show(at);
  const go = (frame) => {
    at = Math.min(last, Math.max(0, frame));
    video.pause();
    stay(); // also where it is there already: the clock may be one picture ahead of what is shown
  };
  if (video.requestVideoFrameCallback) {
    const next = (now, frame) => {
      video.paused ? showSought() : show(frameAt(frame.mediaTime));
      video.requestVideoFrameCallback(next);
    };
    video.requestVideoFrameCallback(next);
  } else {
    const next = () => {
      if (!video.paused) show(frameAt(video.currentTime));
      requestAnimationFrame(next);
    };
    next();
  }
  for (const event of ["loadeddata", "seeked"]) video.addEventListener(event, showSought);
  const told = () => {
    play.textContent = video.paused ? "▶ Play" : "❚❚ Pause";
  };
  video.addEventListener("play", told);
  video.addEventListener("pause", told);
  video.addEventListener("error", () => {
    note.textContent = "This browser does not play H.264 video: here is the first frame.";
    for (const control of [play, seek, speed, ...player.querySelectorAll(".step")]) control.disabled = true;
  });
  const toggle = () => (video.paused ? video.play().catch(() => {}) : go(at));
  play.addEventListener("click", toggle);
  for (const button of player.querySelectorAll(".step")) button.addEventListener("click", () => go(at + Number(button.value)));
  seek.addEventListener("input", () => go(Number(seek.value)));
  speed.addEventListener("change", () => { video.playbackRate = Number(speed.value); });
  const choose = () => {
    const name = panel.selectedOptions[0].text;
    find(".tag.left").textContent = name;
    for (const image of player.querySelectorAll("img.before")) image.hidden = image.dataset.panel !== panel.value;
    find(".compare").dataset.before = name;
    find(".wipe").dispatchEvent(new Event("input"));
    video.paused ? showSought() : show(at);
  };
  if (panel) {
    panel.addEventListener("change", choose);
    // frames as shot flash when they are played
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) panel.selectedIndex = panel.options.length - 1;
    choose();
  }
  player.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || play.disabled) return;
    const isButton = event.target.matches("button, select");
    if (event.key === " " && !isButton) toggle();
    else if (event.key === ",") go(at - 1);
    else if (event.key === ".") go(at + 1);
    else return;
    event.preventDefault();
  });
  const bytes = Uint8Array.from(atob(player.dataset.video), (letter) => letter.charCodeAt(0));
  video.src = URL.createObjectURL(new Blob([bytes], {type: "video/mp4"}));
  player.classList.add("ready");
}
