{
  const VERTEX = "attribute vec2 p; varying vec2 at; void main() { at = vec2(p.x, 1. - p.y); gl_Position = vec4(2. * p - 1., 0., 1.); }";
  const FRAGMENT = `precision highp float;
uniform sampler2D rgbe; uniform float stops; varying vec2 at;
void main() {
  vec4 t = floor(texture2D(rgbe, at) * 255. + .5);
  vec3 v = min(t.rgb * exp2(t.a - 136. + stops), 1.);
  gl_FragColor = vec4(mix(12.92 * v, 1.055 * pow(max(v, 1e-6), vec3(1. / 2.4)) - .055, step(.0031308, v)), 1.);
}`;
  const CODES = 1 << 14;
  const SRGB = Uint8Array.from({length: CODES + 1}, (_, i) => {
    const v = i / CODES;
    return Math.round(255 * (v < 0.0031308 ? 12.92 * v : 1.055 * v ** (1 / 2.4) - 0.055));
  });
  // RGBE of a frame, 4 bytes a pixel
  const unpack = async (text, width, height) => {
    const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    const planes = new Uint8Array(await new Response(stream).arrayBuffer());
    const pixels = new Uint8Array(4 * width * height);
    for (let plane = 0, from = 0; plane < 4; plane++)
      for (let y = 0; y < height; y++)
        for (let x = 0, value = 0, to = 4 * y * width + plane; x < width; x++, to += 4)
          pixels[to] = value = (value + planes[from++]) & 255;
    return pixels;
  };
  // each returns a function that draws a frame with so many stops, or null
  const drawnByWebGL = (canvas) => {
    const gl = canvas.getContext("webgl", {antialias: false, alpha: false, preserveDrawingBuffer: true});
    if (!gl) return null;
    const program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) return null;
    gl.useProgram(program);
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([0, 0, 1, 0, 0, 1, 1, 1]), gl.STATIC_DRAW);
    gl.enableVertexAttribArray(gl.getAttribLocation(program, "p"));
    gl.vertexAttribPointer(gl.getAttribLocation(program, "p"), 2, gl.FLOAT, false, 0, 0);
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    for (const [name, value] of [[gl.TEXTURE_MIN_FILTER, gl.NEAREST], [gl.TEXTURE_MAG_FILTER, gl.NEAREST],
      [gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE], [gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE]])
      gl.texParameteri(gl.TEXTURE_2D, name, value);
    let loaded = null;
    return (frame, stops) => {
      if (loaded !== frame) {
        gl.viewport(0, 0, frame.width, frame.height);
        gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, frame.width, frame.height, 0, gl.RGBA, gl.UNSIGNED_BYTE, frame.pixels);
        loaded = frame;
      }
      gl.uniform1f(gl.getUniformLocation(program, "stops"), stops);
      gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
    };
  };
  const drawnByProcessor = (canvas) => {
    const context = canvas.getContext("2d");
    if (!context) return null;
    return (frame, stops) => {
      const {width, height, pixels} = frame, picture = context.createImageData(width, height), shown = picture.data;
      const gains = Float64Array.from({length: 256}, (_, exponent) => CODES * 2 ** (exponent - 136 + stops));
      for (let i = 0; i < pixels.length; i += 4) {
        const gain = gains[pixels[i + 3]];
        for (let k = i; k < i + 3; k++) shown[k] = SRGB[Math.min(CODES, pixels[k] * gain + 0.5) | 0];
        shown[i + 3] = 255;
      }
      context.putImageData(picture, 0, 0);
    };
  };
  for (const viewer of document.querySelectorAll(".radiance")) {
    const slider = viewer.querySelector(".stops"), out = viewer.querySelector("output"), frames = new Map();
    let canvas = viewer.querySelector("canvas"), draw = null;
    const begin = (makers) => {
      for (const [name, make] of makers) {
        draw = make(canvas);
        if (draw) {
          viewer.dataset.by = name;
          return;
        }
        const fresh = canvas.cloneNode(); // a canvas has one kind of context for good
        canvas.replaceWith(fresh);
        canvas = fresh;
      }
    };
    const show = async () => {
      const stops = Number(slider.value), text = `${stops < 0 ? "−" : "+"}${Math.abs(stops).toFixed(2)} stops`;
      out.textContent = text;
      slider.setAttribute("aria-valuetext", text);
      const choice = viewer.querySelector("input[type=radio]:checked"), data = choice.dataset;
      try {
        if (!frames.has(choice)) {
          const width = Number(data.width), height = Number(data.height);
          frames.set(choice, {width, height, pixels: await unpack(data.rgbe, width, height)});
        }
        const frame = frames.get(choice);
        if (choice.checked && draw) {
          if (canvas.width !== frame.width) canvas.width = frame.width;
          if (canvas.height !== frame.height) canvas.height = frame.height;
          draw(frame, Number(slider.value));
          canvas.setAttribute("aria-label", `${choice.getAttribute("aria-label")}, at ${out.textContent}`);
          viewer.classList.add("drawn");
        }
      } catch {
        viewer.classList.add("failed");
      }
    };
    begin([["WebGL", drawnByWebGL], ["2D canvas", drawnByProcessor]]);
    canvas.addEventListener("webglcontextlost", () => {
      const fresh = canvas.cloneNode();
      canvas.replaceWith(fresh);
      canvas = fresh;
      begin([["2D canvas", drawnByProcessor]]);
      show();
    });
    if (!draw) viewer.classList.add("failed");
    viewer.addEventListener("input", show);
    viewer.querySelector(".reset").addEventListener("click", () => {
      slider.value = 0;
      show();
    });
    viewer.classList.add("ready");
    show();
  }
}
